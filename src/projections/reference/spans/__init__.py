"""The spans that videosdk-agents makes."""
