"""The database schema: its revision, shared SQL, and migration.

The tables are defined in `migrations/` only; `HEAD` is the revision that this code requires.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from eventstore.errors import NewerDatabase, StoreError

HEAD = "0007"
FIELDS = ("seq", "hook", "version", "perf_ns", "wall_ns", "payload")
"""Columns of ``events`` in the order of `Event`'s fields, without session and origin."""
# Looks up only the first and last row of each origin. Materialized, as SQLite would otherwise go through the origins by
# session, and so through the pages of their events at random: twice as slow.
SESSIONS = """
WITH s AS MATERIALIZED (
    SELECT session_id, events,
        (SELECT wall_ns FROM events e WHERE e.origin_id = o.id ORDER BY seq LIMIT 1) AS started,
        (SELECT wall_ns FROM events e WHERE e.origin_id = o.id ORDER BY seq DESC LIMIT 1) AS ended
    FROM origins o WHERE events > 0)
SELECT session_id, SUM(events), COUNT(*), COALESCE(MIN(started), 0), COALESCE(MAX(ended), 0) FROM s GROUP BY session_id
"""
FOLLOW_BATCH = 1000
"""Number of events a follower fetches at once."""


def parse_cursor(after: str | None, parts: int) -> list[int]:
    """The numbers in a follower's position; zeros, the beginning, if it is None. Raises `StoreError`."""
    if after is None:
        return [0] * parts
    numbers = after.split(":")
    if len(numbers) != parts or not all(number.isdigit() for number in numbers):
        raise StoreError(f"{after!r} is not a position of this store; pass one that follow() returned")
    return list(map(int, numbers))


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def dispose_in_child(engine: Engine) -> None:
    """After a fork, make the child open its own connections without closing the parent's."""
    _engines.add(engine)


def _detach_after_fork() -> None:
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_detach_after_fork)


def migrations_folder() -> Path:
    """The folder of the migrations: inside the package in a wheel, at the top level in a clone."""
    here = Path(__file__).resolve().parents[1]
    inside, at_top = here / "migrations", here.parents[1] / "migrations"
    return inside if inside.is_dir() else at_top


def migrate(connection: Connection) -> None:
    """Migrate the database to `HEAD`, in the connection's transaction.

    Raises `NewerDatabase` if its schema is newer, `StoreError` if it is not a turnlog database.
    """
    found = revision(connection)
    if found == HEAD:
        return
    from alembic import command  # imported lazily: slower than all other imports together
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    if found is None and inspect(connection).has_table("events"):
        raise StoreError("the database has a table 'events' that is not turnlog's; choose a different database")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise NewerDatabase(
            f"the database has schema {found}, this turnlog supports up to {HEAD}: upgrade turnlog to open it"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check_revision(connection: Connection, remedy: str) -> None:
    """Check that the database is at `HEAD`. Raises `NewerDatabase`, or `StoreError` naming the ``remedy``."""
    found = revision(connection)
    if found is None:
        raise StoreError(f"the database has no turnlog schema yet; create it with: {remedy}")
    if found != HEAD:
        if found > HEAD:
            raise NewerDatabase(f"the database has schema {found}, this turnlog supports up to {HEAD}: upgrade turnlog")
        raise StoreError(f"the database has schema {found}, older than {HEAD}; bring it up to date with: {remedy}")


def revision(connection: Connection) -> str | None:
    """The database's revision; None if it was never migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
