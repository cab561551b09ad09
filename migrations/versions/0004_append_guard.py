"""Postgres: the database keeps events and chain heads consistent, and no role may execute a function of the schema.

Before, a role that appends advanced a chain's head with the function ``append_to``, to any value. Now a trigger
advances it, once per statement: to the last event that the statement inserted, and only if the first one is linked to
the current head. ``origins.writer`` is the user that began an origin; no other user can append to it. An origin begins
empty, at its genesis; a key begins complete. SQLite has no roles: nothing changes there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# `eventstore.stores.chain` in SQL: msgpack of an integer, a text, and an event's fields. `chain_int` is inlined, and
# every append pays for each of its branches, so it has only those for clocks and small numbers.
CHAIN_INT = r"""
SELECT CASE
    WHEN v > 4294967295 THEN '\xcf'::bytea || int8send(v)
    WHEN v BETWEEN 0 AND 127 THEN substring(int8send(v) FROM 8)
    ELSE chain_int_rest(v)
END
"""
CHAIN_INT_REST = r"""
BEGIN
RETURN CASE
    WHEN v BETWEEN -32 AND 127 THEN substring(int8send(v) FROM 8)
    WHEN v BETWEEN 128 AND 255 THEN '\xcc'::bytea || substring(int8send(v) FROM 8)
    WHEN v BETWEEN 256 AND 65535 THEN '\xcd'::bytea || substring(int8send(v) FROM 7)
    WHEN v BETWEEN 65536 AND 4294967295 THEN '\xce'::bytea || substring(int8send(v) FROM 5)
    WHEN v > 4294967295 THEN '\xcf'::bytea || int8send(v)
    WHEN v >= -128 THEN '\xd0'::bytea || substring(int8send(v) FROM 8)
    WHEN v >= -32768 THEN '\xd1'::bytea || substring(int8send(v) FROM 7)
    WHEN v >= -2147483648 THEN '\xd2'::bytea || substring(int8send(v) FROM 5)
    ELSE '\xd3'::bytea || int8send(v)
END;
END
"""
CHAIN_TEXT = r"""
SELECT CASE
    WHEN octet_length(t) < 32 THEN set_byte('\x00'::bytea, 0, 160 + octet_length(t))
    WHEN octet_length(t) < 256 THEN '\xd9'::bytea || substring(int4send(octet_length(t)) FROM 4)
    WHEN octet_length(t) < 65536 THEN '\xda'::bytea || substring(int4send(octet_length(t)) FROM 3)
    ELSE '\xdb'::bytea || int4send(octet_length(t))
END || convert_to(t, 'UTF8')
"""
LINK = r"""sha256(o.link || '\x96'::bytea || chain_int(f.seq) || chain_text(f.hook) || chain_int(f.version)
                || chain_int(f.perf_ns) || chain_int(f.wall_ns) || chain_text(f.payload))"""
GENESIS = r"""sha256('\x94'::bytea || chain_text('turnlog') || '\x01'::bytea || chain_text(NEW.session_id)
            || chain_text(NEW.origin))"""
# SQLSTATE 40001: link the events again, to the current head. 23514: permanent, do not retry.
EXTEND = f"""
DECLARE
    part record;
    begun_by text;
BEGIN
    FOR part IN
        SELECT origin_id, count(*) AS events, min(position) AS first, max(position) AS last
        FROM added GROUP BY origin_id ORDER BY origin_id
    LOOP
        UPDATE origins o SET events = o.events + part.events, link = l.link
        FROM events f, events l
        WHERE o.id = part.origin_id
            AND f.xid = pg_current_xact_id() AND f.position = part.first
            AND l.xid = pg_current_xact_id() AND l.position = part.last
            AND f.link = {LINK}
        RETURNING o.writer INTO begun_by;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the chain of origin % ends elsewhere by now', part.origin_id USING ERRCODE = '40001';
        END IF;
        IF begun_by <> session_user AND NOT pg_has_role(session_user, current_user, 'MEMBER') AND EXISTS (
            SELECT FROM pg_roles WHERE rolname = begun_by AND NOT pg_has_role(session_user, oid, 'MEMBER')
        ) THEN
            RAISE EXCEPTION 'origin % was begun by user %, and user % is no member of that role',
                part.origin_id, begun_by, session_user USING ERRCODE = '23514';
        END IF;
    END LOOP;
    RETURN NULL;
END
"""
BEGIN = f"""
BEGIN
    IF NEW.events <> 0 OR NEW.link <> {GENESIS} THEN
        RAISE EXCEPTION 'the event log is append-only: an origin begins empty, at its genesis' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END
"""
APPEND_TO = """
BEGIN
    FOR n IN 1 .. cardinality(ids) LOOP
        UPDATE origins SET events = events + added[n], link = links[n] WHERE id = ids[n] AND link = seen[n];
        IF NOT FOUND THEN
            RAISE EXCEPTION 'another process has appended to origin %', ids[n] USING ERRCODE = '40001';
        END IF;
    END LOOP;
END
"""
OLDER = ("events_refuse()", "events_removal()", "origins_removal()")
NEWER = ("chain_int(bigint)", "chain_int_rest(bigint)", "chain_text(text)", "events_extend()", "origins_begin()")


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    # The schema's own tables come first, so that a role cannot shadow them in its own schema or by temporary tables.
    path = op.get_bind().execute(sa.text("SELECT 'pg_catalog, ' || quote_ident(current_schema()) || ', pg_temp'"))
    pinned = f"SET search_path = {path.scalar()}"
    op.execute("DROP FUNCTION append_to(bigint[], bytea[], bytea[], bigint[])")
    op.execute("ALTER TABLE origins ADD COLUMN writer text")  # unknown for existing origins: any user may append
    op.execute("ALTER TABLE origins ALTER COLUMN writer SET DEFAULT session_user::text")
    for signature, language, body in (
        ("chain_int_rest(v bigint)", "plpgsql", CHAIN_INT_REST),  # not inlined
        ("chain_int(v bigint)", "sql", CHAIN_INT),
        ("chain_text(t text)", "sql", CHAIN_TEXT),
    ):
        op.execute(
            f"CREATE FUNCTION {signature} RETURNS bytea LANGUAGE {language} IMMUTABLE STRICT PARALLEL SAFE "
            f"AS $${body}$$"
        )
    for name, body in (("events_extend", EXTEND), ("origins_begin", BEGIN)):
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {pinned} AS $${body}$$")
    for function in OLDER:
        op.execute(f"ALTER FUNCTION {function} {pinned}")
    op.execute(f"REVOKE EXECUTE ON FUNCTION {', '.join(OLDER + NEWER)} FROM PUBLIC")
    op.execute("DROP TRIGGER origins_begin_empty ON origins")
    op.execute(
        "CREATE TRIGGER origins_begin_empty BEFORE INSERT ON origins FOR EACH ROW EXECUTE FUNCTION origins_begin()"
    )
    op.execute(
        "CREATE TRIGGER events_extend AFTER INSERT ON events REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_extend()"
    )
    op.execute(
        "CREATE TRIGGER keys_begin_whole BEFORE INSERT ON keys FOR EACH ROW "
        "WHEN (NEW.wrapped IS NULL OR NEW.forgotten_ns IS NOT NULL) EXECUTE FUNCTION events_refuse()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for trigger, table in (
        ("events_extend", "events"),
        ("origins_begin_empty", "origins"),
        ("keys_begin_whole", "keys"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute(
        "CREATE TRIGGER origins_begin_empty BEFORE INSERT ON origins FOR EACH ROW WHEN (NEW.events <> 0) "
        "EXECUTE FUNCTION events_refuse()"
    )
    op.execute(f"DROP FUNCTION {', '.join(NEWER)}")
    op.execute(f"GRANT EXECUTE ON FUNCTION {', '.join(OLDER)} TO PUBLIC")
    for function in OLDER:
        op.execute(f"ALTER FUNCTION {function} SET search_path FROM CURRENT")
    op.execute("ALTER TABLE origins DROP COLUMN writer")
    op.execute(
        "CREATE FUNCTION append_to(ids bigint[], seen bytea[], links bytea[], added bigint[]) RETURNS void "
        f"LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $${APPEND_TO}$$"
    )
