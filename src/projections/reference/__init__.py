"""The framework's reading: what a release of videosdk-agents makes of the calls, bit for bit."""
