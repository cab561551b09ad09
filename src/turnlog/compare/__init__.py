"""Many sessions under two rule sets, and stored digests of what a replay made."""
