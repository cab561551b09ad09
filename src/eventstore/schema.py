"""The database's schema, and bringing a database up to it.

Tables are made by `migrations/`, never from here; `HEAD` names the revision this code was written for.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from eventstore.errors import NewerDatabase, StoreError

HEAD = "0001"
COLUMNS = ("session_id", "origin", "seq", "hook", "version", "perf_ns", "wall_ns", "payload")
"""The columns of ``events`` besides ``position``, in the order of the fields of `Event`."""


def migrations_folder() -> Path:
    """In a wheel the migrations lie in this package; in a clone they are at its top."""
    here = Path(__file__).resolve().parent
    inside, at_top = here / "migrations", here.parents[1] / "migrations"
    return inside if inside.is_dir() else at_top


def migrate(connection: Connection) -> None:
    """Bring the database to `HEAD`, in the connection's transaction.

    Raises `NewerDatabase` if it is ahead of this code, `StoreError` if it is not a turnlog database.
    """
    found = revision(connection)
    if found == HEAD:
        return
    from alembic import command  # only here: it takes longer to import than all the rest
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    if found is None and inspect(connection).has_table("events"):
        raise StoreError("the database has a table 'events' that is not turnlog's; choose another database")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise NewerDatabase(
            f"the database has schema {found}, this turnlog knows up to {HEAD}: upgrade turnlog to open it"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision(connection: Connection) -> str | None:
    """The revision the database is at; None if it never was migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
