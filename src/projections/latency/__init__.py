"""What the caller waited for: the response, its parts, and why there is none."""
