"""Turns of the caller's reading: activities put together by cause, and the ledger of barge-ins."""
