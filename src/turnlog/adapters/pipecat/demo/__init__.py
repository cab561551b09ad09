"""A scripted agent: mock providers, no network, no keys, no sound card."""
