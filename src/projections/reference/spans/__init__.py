"""Spans as videosdk-agents creates them."""
