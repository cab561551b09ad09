"""Drop-in replacements for videosdk-agents' analytics, log and telemetry clients."""
