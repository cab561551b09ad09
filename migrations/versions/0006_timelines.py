"""Postgres: the log knows on which of the server's timelines an event was stored, so that a failover can be followed.

A replica that is promoted starts a timeline. It assigns transaction ids again that the old primary had assigned to
transactions it did not replicate. ``timelines`` has the lowest transaction id of each timeline on which events were
stored; a trigger adds the row before the first of them. The SQLite schema does not change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# The first eight hexadecimal digits of a WAL file's name. The control file has the old timeline until the checkpoint
# that follows a promotion.
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int"
# A transaction that began to append earlier may have a lower id than this one: it is still open, or has added the row.
BEGIN = """
BEGIN
    IF NOT EXISTS (SELECT FROM timelines WHERE id = events_timeline()) THEN
        INSERT INTO timelines VALUES (events_timeline(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
"""


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "postgresql":
        return
    op.create_table(
        "timelines",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first_xid", sa.BigInteger, nullable=False),
    )
    path = bind.execute(sa.text("SELECT 'pg_catalog, ' || quote_ident(current_schema()) || ', pg_temp'")).scalar()
    op.execute(f"CREATE FUNCTION events_timeline() RETURNS int LANGUAGE sql STABLE AS $$ SELECT {_timeline()} $$")
    op.execute(
        "CREATE FUNCTION timelines_begin() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = {path} AS $${BEGIN}$$"
    )
    op.execute("REVOKE EXECUTE ON FUNCTION events_timeline(), timelines_begin() FROM PUBLIC")
    op.execute("INSERT INTO timelines VALUES (events_timeline(), 0)")
    op.execute(
        "CREATE TRIGGER events_timeline BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION timelines_begin()"
    )
    op.execute(
        "CREATE TRIGGER timelines_append_only BEFORE UPDATE OR DELETE ON timelines "
        "FOR EACH ROW EXECUTE FUNCTION events_refuse()"
    )
    op.execute(
        "CREATE TRIGGER timelines_no_truncate BEFORE TRUNCATE ON timelines "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_refuse()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP TRIGGER events_timeline ON events")
    op.drop_table("timelines")
    op.execute("DROP FUNCTION events_timeline(), timelines_begin()")


def _timeline() -> str:
    """`TIMELINE`, or 1 on a server that has no WAL functions: its replicas share its storage, and lose nothing."""
    bind = op.get_bind()
    try:
        with bind.begin_nested():
            bind.execute(sa.text(f"SELECT {TIMELINE}"))
    except sa.exc.DBAPIError:
        return "1"
    return TIMELINE
