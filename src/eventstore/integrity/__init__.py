"""Integrity verification of sessions and whole logs, and detection of gaps."""
