"""From a hook call to the store: recorder, journal, writer, and the recovery of what a process left behind."""
