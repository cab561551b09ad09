"""All operations through a real pgbouncer in transaction mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventstore import Recorder, open_store
from eventstore.errors import StoreError, StoreUnavailable
from eventstore.integrity.session import verify
from eventstore.stores.postgres.connection import is_pooled
from eventstore.stores.postgres.store import PostgresStore
from eventstore.stores.records import Cursor
from exporters.delivery.outbox import deliver, due_cursors
from support.events import event
from support.follower import Follower
from support.postgres_servers import Cluster, cluster, folder, needs_pooler, needs_server, pooler

pytestmark = [needs_server, needs_pooler, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with folder() as place, cluster(place) as made:
        made.execute("CREATE DATABASE calls", "CREATE DATABASE other")
        yield made


@pytest.fixture(scope="module")
def port(server: Cluster) -> Iterator[int]:
    with folder() as place, pooler(server, place) as port:
        yield port


@pytest.fixture
def pooled(server: Cluster, port: int) -> Iterator[PostgresStore]:
    server.execute("DROP DATABASE calls WITH (FORCE)", "CREATE DATABASE calls")
    store = open_store(f"postgresql://postgres@127.0.0.1:{port}/calls", migrate=True)
    assert isinstance(store, PostgresStore)
    yield store
    store.close()


class Kept:
    """Collects what it is sent."""

    name = "kept"
    rules = "videosdk-1.0"
    batch = 7

    def __init__(self) -> None:
        self.sent: list[object] = []

    def items(self, call: object) -> list[object]:
        return list(call.payloads)  # type: ignore[attr-defined]

    def encode(self, item: object) -> bytes:
        return repr(item).encode()

    def send(self, items: object) -> None:
        self.sent.extend(items)  # type: ignore[call-overload]

    def close(self) -> None: ...


def test_a_pooler_is_noticed(server: Cluster, pooled: PostgresStore) -> None:
    with pooled._driver() as driver:
        assert is_pooled(driver)
        assert driver.prepare_threshold is None
    with psycopg.connect(server.url()) as direct:
        assert not is_pooled(direct)


def test_record_read_follow_deliver_and_verify(pooled: PostgresStore, tmp_path: Path) -> None:
    """Many threads on three server connections, small batches and large ones, one origin and several.

    Break: in eventstore/stores/postgres/connection.py, ``_prepare``, let statements be prepared.
    """
    follower = Follower(pooled)
    try:

        def work(worker: int) -> None:
            seq = 0
            for size in [1] * 12 + [3] * 12 + [80, 200]:
                pooled.append([event(seq + n, origin=str(worker)) for n in range(size)])
                seq += size
                list(pooled.read("s"))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        with Recorder(pooled, "recorded", journal=tmp_path / "journal") as recorder:
            for n in range(300):
                recorder.add_error("LLM", str(n))
            assert recorder.flush(60), recorder.health
        for thread in threads:
            thread.join()
        count = 6 * (12 + 36 + 280) + 300
        seen = follower.wait_for(count)
    finally:
        follower.close()
    assert len({f.event.identity for f in seen}) == len(seen) == count
    assert len(list(pooled.read("s"))) == count - 300
    read = {name: len(list(events)) for name, events in pooled.read_many(["s", "recorded"] * 5)}
    assert read == {"s": count - 300, "recorded": 300}
    assert verify(pooled, "s") == verify(pooled, "recorded") == []
    kept = Kept()
    with pooled.ledger.exclusive_delivery("kept"):
        outcomes = list(deliver(pooled, kept, due_cursors(pooled, "kept")))
    assert [outcome.left or outcome.parked for outcome in outcomes] == [None, None]
    assert due_cursors(pooled, "kept") == []


def test_a_session_is_streamed_while_others_use_the_pool(pooled: PostgresStore) -> None:
    pooled.append([event(n, origin=origin) for n in range(3000) for origin in "ab"])
    reader = pooled.read("s")
    first = [next(reader) for _ in range(10)]
    pooled.append([event(n, session="t") for n in range(5)])
    assert len(first) + len(list(reader)) == 6000


def test_a_follower_leaves_no_listener_behind(server: Cluster, pooled: PostgresStore) -> None:
    """LISTEN would stay on a server connection that is shared.

    Break: in eventstore/stores/postgres/follow.py, ``follow``, listen always.
    """
    follower = Follower(pooled)
    pooled.append([event(0)])
    follower.wait_for(1)
    follower.close()
    with pooled._driver() as driver:
        for _ in range(5):
            assert driver.execute("SELECT pg_listening_channels()").fetchall() == []
    assert server.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == [(0,)]


def test_only_one_delivers_and_others_work_meanwhile(server: Cluster, pooled: PostgresStore, port: int) -> None:
    """A session-level advisory lock would belong to the pooler.

    Break: in eventstore/stores/postgres/store.py, ``_TRY_LOCK``, take ``pg_try_advisory_lock``.
    """
    server.execute("ALTER DATABASE calls SET idle_in_transaction_session_timeout = '200ms'")
    another = open_store(f"postgresql://postgres@127.0.0.1:{port}/calls")
    try:
        for _ in range(3):
            with pooled.ledger.exclusive_delivery("x"):
                with (
                    pytest.raises(StoreUnavailable, match="delivers 'x' already"),
                    another.ledger.exclusive_delivery("x"),
                ):
                    pass
                with another.ledger.exclusive_delivery("y"):
                    pooled.ledger.save_cursor(Cursor("x", "s", 1))
            with another.ledger.exclusive_delivery("x"):
                pass
    finally:
        another.close()


def test_an_open_lock_does_not_hold_a_follower_back(pooled: PostgresStore) -> None:
    follower = Follower(pooled)
    try:
        with pooled.ledger.exclusive_delivery("x"):
            pooled.append([event(0)])
            follower.wait_for(1)
    finally:
        follower.close()


def test_a_search_path_that_the_pooler_drops_is_not_taken_for_another_s(server: Cluster) -> None:
    """Otherwise events of one tenant would be written to the schema of another."""
    with folder() as place, pooler(server, place, "ignore_startup_parameters = options") as port:
        server.execute("CREATE SCHEMA IF NOT EXISTS tenant", database="other")
        url = f"postgresql://postgres@127.0.0.1:{port}/other"
        open_store(url, migrate=True).close()
        with pytest.raises(StoreError, match="a pooler drops it; set it on the role"):
            open_store(f"{url}?options=-csearch_path%3Dtenant", migrate=True)
        server.execute("ALTER ROLE postgres IN DATABASE other SET search_path = tenant")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'other'")
        store = open_store(url, migrate=True)
        store.append([event(0)])
        assert server.execute("SELECT count(*) FROM tenant.events", database="other") == [(1,)]
        assert server.execute("SELECT count(*) FROM public.events", database="other") == [(0,)]
        store.close()
