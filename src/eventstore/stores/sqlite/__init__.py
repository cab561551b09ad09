"""The SQLite store, and detection of a replaced or overwritten file."""
