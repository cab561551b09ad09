"""Two readings of a call beside each other, and digests of them."""
