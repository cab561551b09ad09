"""The path of a hook call to the store: recorder, journal, writer, and recovery after a crash."""
