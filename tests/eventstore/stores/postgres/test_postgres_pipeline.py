"""Appends that fail half-way: each way in which a pipeline or a COPY can end leaves all of a batch or nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, Store
from eventstore.errors import StoreError, StoreUnavailable
from eventstore.integrity.session import verify
from eventstore.stores.memory import MemoryStore
from eventstore.stores.postgres import append as postgres_append
from eventstore.stores.postgres.store import PostgresStore
from support.events import event
from support.examples import examples
from support.strategies import sessions

FAILS_AT_COMMIT = """
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = '23514'; END $$;
CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.seq = 7) EXECUTE FUNCTION fails();
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether batches of any size are copied, or inserted."""
    monkeypatch.setattr(postgres_append, "COPY_FROM", 1 if request.param else 10_000)
    return bool(request.param)


both_ways = pytest.mark.parametrize("copied", [False, True], ids=["inserted", "copied"], indirect=True)


@contextmanager
def locked(url: str) -> Iterator[psycopg.Connection]:
    """A transaction in which appends to the session ``s`` have to wait."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("BEGIN")
        owner.execute("SELECT FROM origins WHERE session_id = 's' FOR UPDATE")
        yield owner
        owner.execute("ROLLBACK")


def wait_for_append(owner: psycopg.Connection, appends: threading.Thread) -> None:
    """Until an append waits for the lock."""
    while owner.execute(WAITS).fetchone() == (0,):
        assert appends.is_alive()
        owner.execute("SELECT pg_stat_clear_snapshot()")
        time.sleep(0.01)


@both_ways
@settings(max_examples=examples(20))
@given(data=st.data(), events=sessions())
def test_chains_and_repeats_are_those_of_the_contract(
    postgres: Store, copied: bool, data: st.DataObject, events: list[Event]
) -> None:
    """Whatever batches an append gets, stored before or not, in whatever order: link for link as in memory.

    Break: in eventstore/stores/postgres/store.py, ``_write``, do not remember the heads that were advanced.
    """
    session = os.urandom(8).hex()  # the database is the same for all examples
    made = [Event(session, *fields) for fields in ((e.origin, e.seq, e.hook, e.version, e.perf_ns, e.wall_ns, e.payload)
                                                   for e in events)]  # fmt: skip
    memory = MemoryStore()
    for _batch in range(data.draw(st.integers(1, 4))):
        batch = data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=30)) if made else []
        before = {e.identity for e in memory.read(session)}
        positions = list(postgres.append(batch))
        memory.append(batch)
        assert [positions[n] for n, e in enumerate(batch) if e.identity in before] == list(
            postgres.append([e for e in batch if e.identity in before])
        )
    stored, expected = (
        [(origin, list(linked)) for origin, linked in store.chains(session)] for store in (postgres, memory)
    )
    assert sorted(stored) == sorted(expected)


@both_ways
def test_a_commit_that_fails_stores_nothing(postgres: Store, postgres_url: str, copied: bool) -> None:
    """The error comes after every statement has succeeded.

    Break: in eventstore/stores/postgres/pipeline.py, ``finish``, do not wait for the answers.
    """
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(FAILS_AT_COMMIT)
        with pytest.raises(StoreError, match="no"):
            postgres.append([event(n) for n in range(10)])
        assert list(postgres.read("s")) == []
        owner.execute("DROP TRIGGER fails ON events")
    postgres.append([event(n) for n in range(10)])
    assert verify(postgres, "s") == []
    assert len(list(postgres.read("s"))) == 10


@both_ways
def test_ctrl_c_ends_an_append_that_waits(postgres: Store, postgres_url: str, copied: bool) -> None:
    """It stores nothing, holds no lock, and the store goes on.

    Break: in eventstore/stores/postgres/pipeline.py, ``_receive``, call ``get_result`` of the connection.
    """
    postgres.append([event(0)])
    with locked(postgres_url) as owner:

        def interrupt() -> None:
            wait_for_append(owner, threading.main_thread())
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            postgres.append([event(n) for n in range(1, 10)])
        thread.join()
    assert len(list(postgres.read("s"))) == 1
    postgres.append([event(n) for n in range(1, 10)])
    assert len(list(postgres.read("s"))) == 10
    assert verify(postgres, "s") == []


@both_ways
def test_other_threads_run_while_an_append_waits(postgres: Store, postgres_url: str, copied: bool) -> None:
    postgres.append([event(0)])
    with locked(postgres_url) as owner:
        thread = threading.Thread(target=postgres.append, args=([event(n) for n in range(1, 10)],))
        thread.start()
        wait_for_append(owner, thread)  # in this thread, at the same time
        postgres.append([event(n, session="t") for n in range(10)])
    thread.join()
    assert len(list(postgres.read("s"))) == len(list(postgres.read("t"))) == 10


@both_ways
def test_a_chain_that_moves_under_an_append_is_linked_again(postgres: Store, postgres_url: str, copied: bool) -> None:
    """Two stores append to one origin alternately, each with an outdated head.

    Break: in eventstore/stores/postgres/store.py, ``append``, do not catch SerializationFailure.
    """
    second = PostgresStore(postgres._engine.url, migrate=False)  # type: ignore[attr-defined]
    for n in range(0, 60, 20):
        postgres.append([event(k) for k in range(n, n + 10)])
        second.append([event(k) for k in range(n + 10, n + 20)])
    second.close()
    assert verify(postgres, "s") == []
    assert len(list(postgres.read("s"))) == 60


@both_ways
def test_a_server_process_without_our_statements(postgres: Store, copied: bool) -> None:
    """As behind a pooler that was not noticed: the append is tried once more, on a new connection.

    Break: in eventstore/stores/postgres/connection.py, ``is_lost``, leave out the statement's name.
    """
    assert isinstance(postgres, PostgresStore)
    for n in range(3):
        postgres.append([event(n)])
        with postgres._driver() as driver:
            driver.execute("DEALLOCATE ALL")
    postgres.append([event(3, origin="new")])
    assert len(list(postgres.read("s"))) == 4


@both_ways
def test_a_process_ended_in_mid_append_is_replaced(postgres: Store, postgres_url: str, copied: bool) -> None:
    """Break: in eventstore/stores/postgres/connection.py, ``is_lost``, leave out ``57P``."""
    postgres.append([event(0)])
    with locked(postgres_url) as owner:
        thread = threading.Thread(target=postgres.append, args=([event(n) for n in range(1, 10)],))
        thread.start()
        wait_for_append(owner, thread)
        owner.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        wait_for_append(owner, thread)  # the second attempt
    thread.join()
    assert [e.seq for e in postgres.read("s")] == list(range(10))
    assert verify(postgres, "s") == []


@both_ways
def test_a_statement_timeout_in_mid_append(postgres: Store, postgres_url: str, copied: bool) -> None:
    """Nothing is stored, and the same connection appends when there is nothing to wait for."""
    impatient = PostgresStore(
        postgres._engine.url.update_query_dict({"options": "-cstatement_timeout=200"}),  # type: ignore[attr-defined]
        migrate=False,
    )
    impatient.append([event(0)])
    with locked(postgres_url), pytest.raises(StoreUnavailable, match="statement timeout"):
        impatient.append([event(n) for n in range(1, 10)])
    assert len(list(postgres.read("s"))) == 1
    impatient.append([event(n) for n in range(1, 10)])
    impatient.close()
    assert verify(postgres, "s") == []
    assert len(list(postgres.read("s"))) == 10


@both_ways
def test_a_child_of_a_fork_has_connections_of_its_own(postgres: Store, copied: bool) -> None:
    postgres.append([event(n) for n in range(10)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            postgres.append([event(n, origin="child") for n in range(10)])
            code = 0
        finally:
            os._exit(code)
    postgres.append([event(n) for n in range(10, 20)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    postgres.append([event(n) for n in range(20, 30)])
    assert len(list(postgres.read("s"))) == 40
    assert verify(postgres, "s") == []
