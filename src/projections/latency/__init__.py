"""The response time that the caller experiences: its parts, and the reason where there is none."""
