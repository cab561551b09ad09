"""The Postgres store, its connections, followers and roles."""
