"""Event stores (SQLite, Postgres, memory) behind one protocol."""
