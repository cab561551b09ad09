"""The SQLite store, and the care that its one file takes."""
