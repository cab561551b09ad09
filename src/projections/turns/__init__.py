"""Turns of the caller's reading: activities grouped by cause, and the ledger of barge-ins."""
