"""Database roles of a log on Postgres; the SQL is in `migrations/roles.sql`."""

from __future__ import annotations

from sqlalchemy import text

from eventstore.stores.postgres.connection import make_engine, parse_url, translate_errors
from eventstore.stores.schema import migrations_folder

ROLES = ("agent", "delivery", "projector", "reader")


def grant_roles(url: str, prefix: str) -> list[str]:
    """Create the roles of the log at ``url`` and grant each its privileges; returns their names.

    Idempotent, in one transaction; repeat it after every migration. Raises `StoreError`.
    """
    parsed = parse_url(url)
    engine = make_engine(parsed)
    script = (migrations_folder() / "roles.sql").read_text(encoding="utf-8")
    try:
        with translate_errors(parsed.render_as_string(hide_password=True)), engine.begin() as connection:
            connection.execute(text("SELECT set_config('turnlog.roles', :prefix, true)"), {"prefix": prefix})
            connection.exec_driver_sql(script.replace("%", "%%"))
    finally:
        engine.dispose()
    return [f"{prefix}_{role}" for role in ROLES]
