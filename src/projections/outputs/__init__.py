"""What leaves a call, made from its turns: analytics payloads, signals."""
