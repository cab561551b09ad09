"""Comparison of two readings or recordings of a call, and digests of turns."""
