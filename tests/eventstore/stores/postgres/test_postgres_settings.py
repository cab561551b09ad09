"""Unusual servers, databases, roles and events: they work, or one line says what to do."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import errors

from eventstore import Recorder, Store, open_store
from eventstore.errors import StoreDamaged, StoreError, StoreUnavailable
from eventstore.integrity.session import verify
from eventstore.stores.postgres.connection import parse_url
from support.events import event
from support.follower import Follower


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def admin(url: str) -> psycopg.Connection:
    return psycopg.connect(plain(url), autocommit=True)


def in_schema(url: str, name: str) -> str:
    return f"{url}&options=-csearch_path%3D{name}"


def test_two_logs_in_two_schemas_of_one_database(postgres_url: str) -> None:
    """Break: in migrations/versions/0004_append_guard.py, pin the path to ``public``."""
    with admin(postgres_url) as owner:
        owner.execute("CREATE SCHEMA one")
        owner.execute("CREATE SCHEMA two")
    one, two = (open_store(in_schema(postgres_url, name), migrate=True) for name in ("one", "two"))
    follower = Follower(two)
    one.append([event(n, payload='{"n":1}') for n in range(100)])
    two.append([event(0, payload='{"n":2}')])
    two.append([event(1, payload='{"n":2}')])
    assert [f.event.payload for f in follower.wait_for(2)] == ['{"n":2}'] * 2
    follower.close()
    assert len(list(one.read("s"))) == 100
    assert len(list(two.read("s"))) == 2
    assert verify(one, "s") == verify(two, "s") == []
    with one.ledger.exclusive_delivery("x"), two.ledger.exclusive_delivery("x"):
        pass
    assert one.journal != two.journal
    with admin(postgres_url) as owner:
        assert owner.execute("SELECT to_regclass('public.events')").fetchone() == (None,)
        with pytest.raises(errors.RaiseException, match="append-only"):
            owner.execute("DELETE FROM one.events")
    one.close()
    two.close()


def test_a_schema_that_is_not_there(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="has no schema nowhere; create it with: CREATE SCHEMA"):
        open_store(in_schema(postgres_url, "nowhere"), migrate=True)


def test_a_database_in_another_encoding_is_refused(postgres_url: str) -> None:
    with admin(postgres_url) as owner:
        name = owner.info.dbname + "_latin"
        owner.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(StoreError, match="is encoded in LATIN1, and a log needs UTF8"):
                open_store(postgres_url.replace(owner.info.dbname, name), migrate=True)
        finally:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_another_encoding_of_the_client_changes_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = open_store(postgres_url + "&client_encoding=latin1", migrate=True)
    store.append([event(0, payload='{"text":"मौसम 🙂"}')])
    assert next(store.read("s")).payload == '{"text":"मौसम 🙂"}'
    store.close()


def test_a_statement_timeout_costs_nothing(postgres: Store, postgres_url: str, tmp_path: Path) -> None:
    """An append that waits for a lock is cancelled repeatedly, and succeeds once the lock is released."""
    impatient = open_store(postgres_url + "&options=-cstatement_timeout%3D1000")
    with Recorder(impatient, "s", journal=tmp_path / "journal") as recorder, admin(postgres_url) as owner:
        owner.execute("BEGIN")
        owner.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        for n in range(200):
            recorder.add_error("LLM", str(n))
        with pytest.raises(StoreUnavailable, match="not available now: canceling statement due to statement timeout"):
            impatient.append([event(0, session="t")])
        owner.execute("COMMIT")
        assert recorder.flush(60), recorder.health
    assert [e.seq for e in impatient.read("s")] == list(range(200))
    assert verify(impatient, "s") == []
    postgres.append([event(n, session="long", origin=origin) for n in range(11_000) for origin in "ab"])
    assert len(list(impatient.read("long"))) == 22_000
    impatient.close()


HUGE = 2**63
POISON = [
    msgspec.structs.replace(event(0), hook="a\0b"),
    event(0, session="a\0b"),
    event(0, origin="a\0b"),
    event(0, payload="\0"),
    event(0, payload="\ud800"),
    event(0, session="\ud800"),
    event(HUGE),
    event(0, wall_ns=HUGE),
    event(0, wall_ns=2**80),
    msgspec.structs.replace(event(0), version=2**40),
    event(0, session="x".join(map(str, range(30_000)))),  # too long for an index, however well it is compressed
]


@pytest.mark.parametrize("many", [False, True])
def test_an_event_that_no_server_will_ever_take(postgres: Store, many: bool) -> None:
    """It is refused permanently, not as an outage; nothing of its batch is stored, and later appends work.

    Break: in eventstore/stores/postgres/connection.py, ``translate_errors``, call what is over a limit unavailable.
    """
    good = [event(n, session="good") for n in range(100 if many else 1)]
    for poison in POISON:
        with pytest.raises(StoreError) as caught:
            postgres.append([*good, poison])
        assert type(caught.value) is StoreError, (poison, caught.value)
        assert "\n" not in str(caught.value)
    assert list(postgres.read("good")) == []
    postgres.append(good)
    assert list(postgres.read("good")) == good
    assert verify(postgres, "good") == []


def test_all_that_passes_is_worth_another_try(postgres: Store, postgres_url: str) -> None:
    """A terminated backend, an unavailable lock, a deadlock, too many connections, a renamed schema."""
    postgres.append([event(0)])
    with admin(postgres_url) as owner:
        name = owner.info.dbname
        owner.execute(f"ALTER DATABASE {name} SET lock_timeout = '100ms'")
        postgres.close()  # its pool only: settings are for new connections
        owner.execute("BEGIN")
        owner.execute("LOCK TABLE events IN EXCLUSIVE MODE")
        for batch in ([event(1)], [event(n) for n in range(1, 80)]):
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                postgres.append(batch)
        owner.execute("ROLLBACK")
        owner.execute(f"ALTER DATABASE {name} RESET lock_timeout")
        owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        owner.execute("CREATE ROLE limited LOGIN")
        try:
            with pytest.raises(StoreUnavailable, match="too many connections"):
                open_store(plain(postgres_url).replace("postgres:@", "limited@"))
        finally:
            owner.execute("DROP ROLE limited")
            owner.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        owner.execute("ALTER TABLE events RENAME TO elsewhere")
        with pytest.raises(StoreDamaged, match="run turnlog init"):
            postgres.append([event(1)])
        owner.execute("ALTER TABLE elsewhere RENAME TO events")
    postgres.append([event(1)])
    assert verify(postgres, "s") == []


def test_a_backend_that_is_ended_again_and_again(postgres: Store, postgres_url: str, tmp_path: Path) -> None:
    ended = threading.Event()

    def end() -> None:
        with admin(postgres_url) as owner:
            while not ended.wait(0.05):
                owner.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    thread = threading.Thread(target=end)
    thread.start()
    with Recorder(postgres, "s", journal=tmp_path / "journal") as recorder:
        for n in range(3000):
            recorder.add_error("LLM", str(n))
        ended.set()
        thread.join()
        assert recorder.flush(60), recorder.health
    assert [e.seq for e in postgres.read("s")] == list(range(3000))
    assert verify(postgres, "s") == []


def test_urls_of_several_hosts() -> None:
    libpq = parse_url("postgresql://me:pass@h1:5001,h2:5002/calls?target_session_attrs=read-write")
    assert libpq.query == {"host": ("h1:5001", "h2:5002"), "target_session_attrs": "read-write"}
    assert (libpq.username, libpq.password, libpq.database, libpq.host) == ("me", "pass", "calls", None)
    assert parse_url("postgresql://h1,h2/calls").query == {"host": ("h1", "h2")}
    assert parse_url("postgres://h1/calls").host == "h1"
    with pytest.raises(StoreError, match="cannot be read") as caught:
        open_store("postgresql://me:secret@host:port/calls")
    assert "secret" not in str(caught.value)
