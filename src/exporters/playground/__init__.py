"""Playground messages of old releases, as server-sent events."""
