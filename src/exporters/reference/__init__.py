"""Drop-in replacements for the clients of videosdk-agents."""
