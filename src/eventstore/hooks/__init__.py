"""The vocabulary of hooks, their arguments, and which arguments are content or secrets."""
