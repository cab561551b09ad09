"""Origins, hash chains, keys and removals.

Session and origin names move from every event into ``origins``, which also has the head of the origin's hash chain;
events get their link. Events keep their positions and, on Postgres, their transaction ids, so followers' positions stay
valid. ``keys`` has each session's wrapped content key, ``removals`` the tombstones of sessions that retention removed,
``unlocked`` the session that a removal is deleting; it is empty outside of such a transaction. The view ``event_log``
shows events with their session and origin.
"""

import sqlalchemy as sa
from alembic import op

from eventstore.event import Event
from eventstore.stores.chain import genesis, link

revision = "0002"
down_revision = "0001"

POSITION = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER PRIMARY KEY is SQLite's rowid
FIELDS = "seq, hook, version, perf_ns, wall_ns, payload"
GUARDED = ("events", "origins", "keys", "removals")
BATCH = 5000


def _fields() -> list[sa.Column]:
    """Column definitions of `FIELDS`."""
    kinds = sa.BigInteger, sa.Text, sa.Integer, sa.BigInteger, sa.BigInteger, sa.Text
    return [sa.Column(name, kind, nullable=False) for name, kind in zip(FIELDS.split(", "), kinds, strict=True)]


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "origins",
        sa.Column("id", POSITION, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("link", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("session_id", "origin", name="origins_identity"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "keys",
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("master", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("forgotten_ns", sa.BigInteger),
    )
    op.create_table(
        "removals",
        sa.Column("id", POSITION, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("removed_ns", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table("unlocked", sa.Column("session_id", sa.Text, primary_key=True))
    columns = [
        sa.Column("position", POSITION, *([sa.Identity()] if postgres else []), primary_key=not postgres),
        sa.Column("origin_id", sa.BigInteger, nullable=False),
        *_fields(),
        sa.Column("link", sa.LargeBinary, nullable=False),
    ]
    # No foreign key: it would be checked for every row, in a table that only the store writes.
    op.create_table(
        "linked_events",
        *columns,
        (sa.PrimaryKeyConstraint if postgres else sa.UniqueConstraint)("origin_id", "seq", name="linked_identity"),
        sqlite_autoincrement=True,
    )
    if postgres:
        op.execute("ALTER TABLE linked_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    _copy_up(postgres)
    _replace("events", "linked_events", postgres)
    if postgres:
        _guard_postgres()
    else:
        _guard_sqlite()
    op.execute(
        f"CREATE VIEW event_log AS SELECT position, session_id, origin, {FIELDS}, e.link "
        "FROM events e JOIN origins o ON o.id = e.origin_id"
    )


def downgrade() -> None:
    """Raises `RuntimeError` if there is a key: dropping ``keys`` would lose the content sealed under it."""
    bind = op.get_bind()
    postgres = bind.dialect.name == "postgresql"
    if bind.execute(sa.text("SELECT COUNT(*) FROM keys")).scalar():
        raise RuntimeError("the log has encrypted sessions, which schema 0001 cannot represent")
    op.execute("DROP VIEW event_log")
    op.create_table(
        "named_events",
        sa.Column("position", POSITION, sa.Identity(), primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("session_id", "origin")),
        *_fields(),
        sa.UniqueConstraint("session_id", "origin", "seq", name="named_identity"),
        sqlite_autoincrement=True,
    )
    xid = ", xid" if postgres else ""
    if postgres:
        op.execute("ALTER TABLE named_events ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.execute(
        f"INSERT INTO named_events (position, session_id, origin, {FIELDS}{xid}) "
        f"SELECT position, session_id, o.origin, {FIELDS}{xid} FROM events e JOIN origins o ON o.id = e.origin_id"
    )
    _replace("events", "named_events", postgres)
    for table in ("unlocked", "removals", "keys", "origins"):
        op.drop_table(table)
    if postgres:
        op.execute("DROP FUNCTION append_to, origins_removal, events_removal")
        op.execute("ALTER INDEX named_identity RENAME TO events_identity")
        op.execute("ALTER INDEX named_events_pkey RENAME TO events_pkey")
        op.execute("CREATE INDEX events_follow ON events (xid, position)")
        op.execute(
            "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP; END $$"
        )
        op.execute(
            "CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events "
            "FOR EACH ROW EXECUTE FUNCTION events_refuse()"
        )
        op.execute(
            "CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events "
            "FOR EACH STATEMENT EXECUTE FUNCTION events_refuse()"
        )
    else:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER events_no_{action.lower()} BEFORE {action} ON events "
                f"BEGIN SELECT RAISE(ABORT, 'the event log is append-only: {action} refused'); END"
            )


def _copy_up(postgres: bool) -> None:
    """Copy the events in storage order, linking each to its predecessor in its origin."""
    bind = op.get_bind()
    tails: dict[tuple[str, str], list] = {}
    xid = ", xid::text" if postgres else ""
    read = sa.text(f"SELECT position, session_id, origin, {FIELDS}{xid} FROM events WHERE position > :after "
                   f"ORDER BY position LIMIT {BATCH}")  # fmt: skip
    names = ["position", "origin_id", *FIELDS.split(", "), "link", *(["xid"] if postgres else [])]
    values = ", ".join("CAST(:xid AS xid8)" if name == "xid" else f":{name}" for name in names)
    write = sa.text(f"INSERT INTO linked_events ({', '.join(names)}) VALUES ({values})")
    after = -1
    while rows := bind.execute(read, {"after": after}).all():
        copies = []
        for position, session_id, origin, *fields in rows:
            key = session_id, origin
            tail = tails.setdefault(key, [len(tails) + 1, 0, genesis(session_id, origin)])
            tail[2] = link(tail[2], Event(session_id, origin, *fields[:6]))
            tail[1] += 1
            copies.append(dict(zip(names, (position, tail[0], *fields[:6], tail[2], *fields[6:]), strict=True)))
        bind.execute(write, copies)
        after = rows[-1][0]
    if tails:
        bind.execute(
            sa.text("INSERT INTO origins (id, session_id, origin, events, link) VALUES (:id, :s, :o, :n, :link)"),
            [{"id": t[0], "s": s, "o": o, "n": t[1], "link": t[2]} for (s, o), t in tails.items()],
        )
    if postgres:
        op.execute(f"SELECT setval(pg_get_serial_sequence('origins', 'id'), {len(tails) + 1}, false)")


def _replace(old: str, new: str, postgres: bool) -> None:
    """Replace the table ``old`` by ``new``, without reusing positions that ``old`` has assigned."""
    if postgres:
        op.execute(
            f"SELECT setval(pg_get_serial_sequence('{new}', 'position'), "
            f"nextval(pg_get_serial_sequence('{old}', 'position')), false)"
        )
        op.drop_table(old)
        op.rename_table(new, old)
        op.execute(f"ALTER SEQUENCE {new}_position_seq RENAME TO {old}_position_seq")
    else:
        op.execute(f"DELETE FROM sqlite_sequence WHERE name = '{new}'")
        op.execute(f"INSERT INTO sqlite_sequence SELECT '{new}', seq FROM sqlite_sequence WHERE name = '{old}'")
        op.drop_table(old)
        op.rename_table(new, old)


def _guard_sqlite() -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the event log is append-only: {} refused'); END"
    unlocked = "EXISTS (SELECT 1 FROM unlocked u JOIN origins o USING (session_id) WHERE o.id = OLD.{})"
    for table, column in (("events", "origin_id"), ("origins", "id")):
        op.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} "
            f"WHEN NOT {unlocked.format(column)} {refuse.format('DELETE')}"
        )
    op.execute(f"CREATE TRIGGER events_no_update BEFORE UPDATE ON events {refuse.format('UPDATE')}")
    op.execute(
        "CREATE TRIGGER origins_only_grow BEFORE UPDATE ON origins WHEN NEW.id <> OLD.id OR NEW.events <= OLD.events "
        f"OR NEW.session_id <> OLD.session_id OR NEW.origin <> OLD.origin {refuse.format('UPDATE')}"
    )
    op.execute(
        "CREATE TRIGGER keys_only_go BEFORE UPDATE ON keys WHEN NEW.wrapped IS NOT NULL "
        f"OR NEW.session_id <> OLD.session_id {refuse.format('UPDATE')}"
    )
    for table in ("keys", "removals"):
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse.format('DELETE')}")
    op.execute(f"CREATE TRIGGER removals_no_update BEFORE UPDATE ON removals {refuse.format('UPDATE')}")


def _guard_postgres() -> None:
    op.execute("ALTER INDEX linked_identity RENAME TO events_pkey")
    op.execute("ALTER TABLE origins SET (fillfactor = 50)")  # room to update a row in its page
    op.execute("CREATE UNIQUE INDEX events_follow ON events (xid, position)")
    refuse = "RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP"
    function = (
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ {} $$"
    )
    removing = "IF EXISTS (SELECT FROM unlocked u WHERE u.session_id = {}) THEN RETURN OLD; END IF; "
    its_session = "(SELECT session_id FROM origins WHERE id = OLD.origin_id)"
    op.execute(function.format("events_refuse", f"BEGIN {refuse}; END"))
    op.execute(function.format("events_removal", f"BEGIN {removing.format(its_session)} {refuse}; END"))
    op.execute(function.format("origins_removal", f"BEGIN {removing.format('OLD.session_id')} {refuse}; END"))
    row, statement = "FOR EACH ROW EXECUTE FUNCTION", "FOR EACH STATEMENT EXECUTE FUNCTION"
    when = "FOR EACH ROW WHEN ({}) EXECUTE FUNCTION events_refuse()"
    moved = "NEW.events <= OLD.events OR (NEW.id, NEW.session_id, NEW.origin) <> (OLD.id, OLD.session_id, OLD.origin)"
    kept = "NEW.wrapped IS NOT NULL OR NEW.session_id <> OLD.session_id"
    for trigger in (
        f"events_no_update BEFORE UPDATE ON events {row} events_refuse()",
        f"events_no_delete BEFORE DELETE ON events {row} events_removal()",
        f"origins_begin_empty BEFORE INSERT ON origins {when.format('NEW.events <> 0')}",
        f"origins_only_grow BEFORE UPDATE ON origins {when.format(moved)}",
        f"origins_no_delete BEFORE DELETE ON origins {row} origins_removal()",
        f"keys_only_go BEFORE UPDATE ON keys {when.format(kept)}",
        f"keys_no_delete BEFORE DELETE ON keys {row} events_refuse()",
        f"removals_append_only BEFORE UPDATE OR DELETE ON removals {row} events_refuse()",
        *(f"{t}_no_truncate BEFORE TRUNCATE ON {t} {statement} events_refuse()" for t in GUARDED),
    ):
        op.execute(f"CREATE TRIGGER {trigger}")
    # With the owner's privileges, so that a role that appends needs only INSERT and SELECT. It advances chain heads, if
    # they are still as the caller saw them.
    op.execute(
        """
        CREATE FUNCTION append_to(ids bigint[], seen bytea[], links bytea[], added bigint[])
        RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
        BEGIN
            FOR n IN 1 .. cardinality(ids) LOOP
                UPDATE origins SET events = events + added[n], link = links[n] WHERE id = ids[n] AND link = seen[n];
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'somebody else has appended to origin %', ids[n] USING ERRCODE = '40001';
                END IF;
            END LOOP;
        END $$
        """
    )
