"""Where events are kept: SQLite, Postgres or memory, behind one protocol."""
