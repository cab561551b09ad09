"""Comparing the replays of sessions: under two rule sets, or with stored digests."""
