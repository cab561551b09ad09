"""The vocabulary: which hooks there are, what their arguments are, and which of those are private."""
