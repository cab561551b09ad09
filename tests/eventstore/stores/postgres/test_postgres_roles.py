"""Each role of a log can do its work, and everything else is refused."""

from __future__ import annotations

import base64
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url
from typer.testing import CliRunner

from eventstore import Recorder, Store, open_store
from eventstore.errors import StoreError, StoreReadOnly
from eventstore.integrity.session import verify
from eventstore.stores.chain import genesis, link
from eventstore.stores.postgres.roles import grant_roles
from eventstore.stores.records import Cursor
from exporters.delivery.outbox import due_cursors
from projections.reference.replay import replay
from support.events import event
from support.examples import examples
from support.follower import Follower
from support.program import Program
from turnlog.cli.app import app
from turnlog.read_models import model_rows, plan
from turnlog.read_models.cache import cached_rows

MASTER = base64.b64encode(bytes(range(32))).decode()
ROW = "seq, hook, version, perf_ns, wall_ns, payload, link"
As = Callable[..., str]


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.fixture
def prefix(postgres_url: str) -> Iterator[str]:
    """A prefix for the roles of one test, as roles are global to the server."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    yield prefix
    with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
        for (role,) in admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (f"{prefix}%",)).fetchall():
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


@pytest.fixture
def user(postgres_url: str, prefix: str) -> As:
    """Creates a user with a role of the log; returns its URL."""
    done = CliRunner().invoke(app, ["init", "--db", postgres_url, "--roles", prefix])
    assert done.exit_code == 0, done.output

    def make(role: str | None, name: str = "user") -> str:
        login = f"{prefix}_{name}"
        with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
            admin.execute(f"CREATE USER {login}" + (f" IN ROLE {prefix}_{role}" if role else ""))
        return make_url(postgres_url).set(username=login, password=None).render_as_string(hide_password=False)

    return make


@contextlib.contextmanager
def opened(url: str, **options: Any) -> Iterator[Store]:
    store = open_store(url, **options)
    try:
        yield store
    finally:
        store.close()


def test_an_agent_records_and_reads(user: As, tmp_path: Path) -> None:
    with opened(user("agent")) as agent:
        with Recorder(agent, "s", journal=tmp_path / "journal") as recorder:
            for n in range(300):
                recorder.add_error("LLM", str(n))
            assert recorder.flush(60), recorder.health
        agent.append([event(0, session="t")])
        agent.append([event(n, session="t") for n in range(200)])  # one is stored already
        assert len(list(agent.read("s"))) == 300
        assert verify(agent, "s") == verify(agent, "t") == []
        with pytest.raises(StoreReadOnly):
            agent.ledger.save_cursor(Cursor("x", "s", 1))


def test_an_agent_records_encrypted_sessions(user: As, tmp_path: Path) -> None:
    with opened(user("agent"), master_key=MASTER) as agent:
        with Recorder(agent, "s", journal=tmp_path / "journal") as recorder:
            recorder.set_user_transcript("only for us")
            assert recorder.flush(60), recorder.health
        assert any("only for us" in e.payload for e in agent.read("s"))
        with pytest.raises(StoreReadOnly):
            agent.ledger.destroy_key("s", 1)


def test_delivery_reads_and_keeps_cursors(user: As, postgres_url: str) -> None:
    with opened(user("agent", "a")) as agent:
        agent.append([event(0)])
    with opened(user("delivery")) as delivery:
        with delivery.ledger.exclusive_delivery("x"):
            (cursor,) = due_cursors(delivery, "x")
            assert replay(delivery.read("s")).events == 1
            delivery.ledger.save_cursor(cursor._replace(done=1))
            delivery.ledger.save_cursor(cursor._replace(done=2, events=1, updated_ns=time.time_ns()))
        assert due_cursors(delivery, "x") == []
        follower = Follower(delivery)
        follower.wait_for(1)
        follower.close()
        with pytest.raises(StoreReadOnly):
            delivery.append([event(1)])


def test_a_reader_reads(user: As, postgres_url: str) -> None:
    with opened(user("agent", "a"), master_key=MASTER) as agent:
        agent.append([event(0, payload='{"text":"sealed"}')])
    url = user("reader")
    with opened(url, master_key=MASTER) as reader:
        assert [e.payload for e in reader.read("s")] == ['{"text":"sealed"}']
        assert [session.session_id for session in reader.sessions()] == ["s"]
        assert verify(reader, "s") == []
        follower = Follower(reader)
        follower.wait_for(1)
        follower.close()
        for refused in (
            lambda: reader.append([event(1)]),
            lambda: reader.ledger.save_cursor(Cursor("x", "s", 1)),
            lambda: reader.ledger.destroy_key("s", 1),
        ):
            with pytest.raises(StoreReadOnly):
                refused()
    for command in (["stats"], ["replay", "s"], ["verify"], ["sessions"]):
        done = CliRunner().invoke(app, [*command, "--db", url], env={"TURNLOG_MASTER_KEY": MASTER})
        assert done.exit_code == 0, done.output


REFUSED = [
    "UPDATE events SET payload = '{}'",
    "DELETE FROM events",
    "TRUNCATE events",
    "UPDATE origins SET events = 99",
    "UPDATE origins SET link = ''",
    "UPDATE origins SET writer = session_user",
    "DELETE FROM origins",
    "DELETE FROM keys",
    "UPDATE keys SET wrapped = NULL",
    "INSERT INTO removals (session_id, events, started_ns, ended_ns, seal, archive, removed_ns) "
    "VALUES ('s', 1, 1, 1, '', '', 1)",
    "INSERT INTO unlocked VALUES ('s')",
    "INSERT INTO timelines VALUES (9, 0)",
    "UPDATE timelines SET first_xid = 0",
    "UPDATE alembic_version SET version_num = '0001'",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "ALTER TABLE events ADD COLUMN x int",
    "DROP TRIGGER events_extend ON events",
    "CREATE TRIGGER mine BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    "SET session_replication_role = replica",
    "DROP TABLE events",
    "CREATE TABLE mine (a int)",
    "CREATE FUNCTION sha256(text) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
    "SELECT setval('events_position_seq', 1)",
    "SELECT nextval('events_position_seq')",
    "SELECT chain_int(1)",
    "SELECT chain_text('x')",
    "SELECT append_to(NULL, NULL, NULL, NULL)",
    # by an agent: what the store never writes
    f"INSERT INTO events (xid, origin_id, {ROW}) VALUES ('1', 1, 9, 'h', 1, 1, 1, '{{}}', '')",
    f"INSERT INTO events (position, origin_id, {ROW}) VALUES (1, 1, 9, 'h', 1, 1, 1, '{{}}', '')",
    f"INSERT INTO events (origin_id, {ROW}) VALUES (1, 9, 'h', 1, 1, 1, '{{}}', '')",
    f"INSERT INTO events (origin_id, {ROW}) SELECT origin_id, 9, hook, 1, 1, 1, payload, link FROM events",
    f"INSERT INTO events (origin_id, {ROW}) VALUES (777, 9, 'h', 1, 1, 1, '{{}}', '')",
    "INSERT INTO origins (session_id, origin, events, link) VALUES ('new', 'o', 0, 'no genesis')",
    "INSERT INTO origins (session_id, origin, events, link) SELECT 'new', 'o', 0, link FROM origins",
    "INSERT INTO origins (session_id, origin, events, link) SELECT 'new', 'o', 5, link FROM origins",
    "INSERT INTO origins (session_id, origin, events, link, writer) VALUES ('new', 'o', 0, '', 'postgres')",
    "INSERT INTO origins (session_id, origin, events, link) SELECT session_id, origin, 0, link FROM origins "
    "ON CONFLICT (session_id, origin) DO UPDATE SET events = 7",
    "INSERT INTO keys (session_id, master, wrapped) VALUES ('another', 'm', NULL)",
    "INSERT INTO keys (session_id, master, wrapped, forgotten_ns) VALUES ('another', 'm', 'w', 1)",
    "INSERT INTO keys (session_id, master, wrapped) VALUES ('s', 'm', 'w') "
    "ON CONFLICT (session_id) DO UPDATE SET wrapped = NULL",
]


def test_everything_else_is_refused(user: As, postgres_url: str) -> None:
    """Break: in migrations/roles.sql, grant an agent INSERT on all columns; or in 0004 drop a trigger, or a REVOKE."""
    with opened(postgres_url) as owner:
        owner.append([event(0)])
        before = _everything(postgres_url)
        for role in ("agent", "delivery", "reader", None):
            with psycopg.connect(plain(user(role, f"as_{role or 'nobody'}")), autocommit=True) as meddler:
                for statement in REFUSED:
                    with pytest.raises(psycopg.Error):
                        meddler.execute(statement)
                        pytest.fail(f"{role} may: {statement}")
                if role is None:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        meddler.execute("SELECT * FROM events")
        assert _everything(postgres_url) == before
        assert verify(owner, "s") == []


def _everything(url: str) -> list[Any]:
    with psycopg.connect(plain(url)) as admin:
        tables = ("events", "origins", "keys", "removals", "unlocked", "deliveries", "alembic_version")
        return [admin.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables]


def test_no_function_of_the_schema_may_be_executed_by_everyone(postgres: Store, postgres_url: str) -> None:
    """And each that runs with its owner's privileges uses only its own schema.

    Break: in migrations/versions/0004_append_guard.py, leave out the REVOKE, or ``pg_temp`` of the path.
    """
    with psycopg.connect(plain(postgres_url)) as admin:
        functions = admin.execute(
            "SELECT proname, prosecdef, proconfig, has_function_privilege('public', oid, 'EXECUTE') "
            "FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for name, *_rest in functions} == {
        "events_refuse", "events_removal", "origins_removal", "events_extend", "origins_begin",
        "chain_int", "chain_int_rest", "chain_text", "events_timeline", "timelines_begin",
    }  # fmt: skip
    assert not [name for name, _definer, _config, everyone in functions if everyone]
    pinned = ["search_path=pg_catalog, public, pg_temp"]
    assert {tuple(config) for name, _d, config, _e in functions if config} == {tuple(pinned)}
    assert {name for name, definer, _c, _e in functions if definer} == {
        "events_extend", "origins_begin", "timelines_begin",
    }  # fmt: skip


def test_a_temporary_table_shadows_nothing(user: As, postgres_url: str) -> None:
    """Break: in migrations/versions/0004_append_guard.py, pin the path without ``pg_temp`` behind the schema."""
    with opened(postgres_url) as owner:
        owner.append([event(0)])
        url = user("agent")
        with psycopg.connect(plain(url), autocommit=True) as agent:
            agent.execute("CREATE TEMP TABLE origins AS SELECT * FROM public.origins")
            agent.execute("UPDATE pg_temp.origins SET link = 'mine'")
            agent.execute("GRANT ALL ON pg_temp.origins TO PUBLIC")
            row = *msgspec.structs.astuple(event(1))[2:], link(b"mine", event(1))
            with pytest.raises(psycopg.errors.SerializationFailure, match="ends elsewhere"):
                agent.execute(
                    f"INSERT INTO public.events (origin_id, {ROW}) VALUES (1, %s, %s, %s, %s, %s, %s, %s)", row
                )
        assert verify(owner, "s") == []


def test_an_agent_writes_only_into_origins_that_it_began(user: As, postgres_url: str, prefix: str) -> None:
    """Even an event with a valid link. The refusal is permanent, so that a recorder sets aside only those events.

    Break: in migrations/versions/0004_append_guard.py, ``EXTEND``, leave out who began it.
    """
    first, second = user("agent", "first"), user("agent", "second")
    with opened(first) as one, opened(second) as two, opened(postgres_url) as owner:
        one.append([event(0)])
        for batch in ([event(1)], [event(n) for n in range(1, 100)]):
            with pytest.raises(StoreError, match=f"was begun by user {prefix}_first") as caught:
                two.append(batch)
            assert type(caught.value) is StoreError
        two.append([event(0, origin="two")])
        owner.append([event(1)])
        with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
            admin.execute(f"GRANT {prefix}_first TO {prefix}_second")
        two.append([event(2)])
        assert verify(owner, "s") == []
        assert len(list(owner.read("s"))) == 4


def test_an_origin_of_a_user_that_is_gone_goes_on(user: As, postgres_url: str, prefix: str) -> None:
    """As with short-lived users: the calls in their journals are stored by the next one."""
    with opened(user("agent", "yesterday")) as store:
        store.append([event(0)])
    with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
        admin.execute(f"DROP ROLE {prefix}_yesterday")
    with opened(user("agent", "today")) as store:
        store.append([event(1)])
        assert verify(store, "s") == []


def test_roles_are_granted_again_and_lose_what_they_had_besides(user: As, postgres_url: str, prefix: str) -> None:
    url = user("agent")
    with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
        admin.execute(f"GRANT ALL ON events, origins, keys, unlocked TO {prefix}_agent")
        admin.execute(f"GRANT USAGE ON SEQUENCE events_position_seq TO {prefix}_agent")
    for _ in range(2):
        assert grant_roles(postgres_url, prefix) == [
            f"{prefix}_agent",
            f"{prefix}_delivery",
            f"{prefix}_projector",
            f"{prefix}_reader",
        ]
    with opened(url) as agent, psycopg.connect(plain(url), autocommit=True) as meddler:
        agent.append([event(0)])
        for table, column in (
            ("events", "xid"),
            ("events", "position"),
            ("origins", "writer"),
            ("keys", "forgotten_ns"),
        ):
            granted = meddler.execute("SELECT has_column_privilege(%s, %s, 'INSERT')", (table, column)).fetchone()
            assert granted == (False,), column
        for statement in ("INSERT INTO unlocked VALUES ('s')", "SELECT nextval('events_position_seq')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                meddler.execute(statement)


def test_init_with_roles_is_for_a_server(program: Program) -> None:
    assert "--roles needs a Postgres database" in program.fails("init", "--roles", "x")
    assert not program.db.exists()


@settings(max_examples=examples())
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1),
            st.integers(-(2**31), 2**31 - 1),
            st.integers(-(2**63), 2**63 - 1) | st.sampled_from([n + d for n in (0, 32, 128, 2**8, 2**15, 2**16, 2**31,
                                                                                2**32) for d in (-1, 0, 1)]),
            st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-n + d for n in (0, 32, 128, 2**15, 2**31)
                                                                for d in (-1, 0, 1)]),
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_the_database_links_as_we_do(chain_in_sql: psycopg.Connection[Any], rows: list[Any]) -> None:
    """Break: in migrations/versions/0004_append_guard.py, ``CHAIN_INT`` or ``CHAIN_INT_REST``, move a bound by one."""
    for seq, version, perf_ns, wall_ns, text in rows:
        made = msgspec.structs.replace(event(0), seq=seq, version=version, perf_ns=perf_ns, wall_ns=wall_ns)
        made = msgspec.structs.replace(made, hook=text, payload=text * 7)
        previous = genesis("s", text)
        query = (
            "SELECT sha256('\\x94'::bytea || chain_text('turnlog') || '\\x01'::bytea || chain_text('s') "
            "|| chain_text(%(o)s)), sha256(%(p)s || '\\x96'::bytea || chain_int(%(seq)s) || chain_text(%(hook)s) || "
            "chain_int(%(version)s) || chain_int(%(perf_ns)s) || chain_int(%(wall_ns)s) || chain_text(%(payload)s))"
        )
        given = msgspec.structs.asdict(made) | {"o": text, "p": previous}
        assert chain_in_sql.execute(query, given).fetchone() == (previous, link(previous, made))


def test_texts_of_every_length_are_linked_as_we_do(postgres: Store) -> None:
    sizes = (30, 31, 32, 33, 255, 256, 257, 65534, 65535, 65536, 65537, 1_000_000)
    for seq, size in enumerate(sizes):
        postgres.append([event(seq, payload='"' + "ü" * (size // 2) + "x" * (size % 2) + '"')])
    assert verify(postgres, "s") == []


@pytest.fixture
def chain_in_sql(postgres: Store, postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
        yield admin


def test_only_a_projector_writes_read_models(user: As, postgres_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Others read them, and keep their own in a cache file. Break: in roles.sql, grant INSERT to the reader."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with opened(postgres_url) as owner:
        owner.append([event(n) for n in range(3)])
    for role in ("reader", "agent", "delivery"):
        with opened(user(role, f"a_{role}")) as store:
            assert len(list(model_rows(store, plan(store, store.sessions())))) == 1
            assert store.rows.stored_keys() == []
            cached = cached_rows(store)
            assert cached is not None
            assert len(cached.stored_keys()) == 1
    with opened(user("projector", "p")) as projector:
        list(model_rows(projector, plan(projector, projector.sessions())))
        assert len(projector.rows.stored_keys()) == 1
        with pytest.raises(StoreReadOnly):
            projector.append([event(9)])
    with opened(user("reader", "r2")) as reader:
        assert plan(reader, reader.sessions()).stale == []
