"""Failover: the primary is killed and its replica promoted, under a recorder and a follower with both hosts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore import Recorder, Store, open_store
from eventstore.errors import StoreReadOnly, StoreUnavailable
from eventstore.integrity.session import verify
from support.events import event
from support.follower import Follower
from support.postgres_servers import Cluster, cluster, folder, needs_server, replica

pytestmark = [needs_server, pytest.mark.slow]


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary and its streaming replica."""
    with folder() as place, cluster(place) as primary, replica(primary, place) as second:
        yield primary, second


def both(primary: Cluster, second: Cluster) -> str:
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{second.port}"
    return f"postgresql+psycopg://postgres@{hosts}/postgres?target_session_attrs=read-write&connect_timeout=5"


class Persistent(Follower):
    """Resumes following at the last position whenever the server was lost."""

    def _run(self) -> None:
        events = self._events
        while not self.stop.is_set():
            try:
                for followed in events:
                    with self._changed:
                        self.seen.append(followed)
                        self._changed.notify_all()
            except StoreUnavailable:
                self.stop.wait(0.1)
            events = self._store.follow(self.seen[-1].position if self.seen else self._after, stop=self.stop)

    def __init__(self, store: Store, after: str | None = None) -> None:
        self._store, self._after = store, after
        super().__init__(store, after)


def synchronous(primary: Cluster) -> None:
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'replica'", "SELECT pg_reload_conf()")


def test_synchronous_replication_loses_nothing(pair: tuple[Cluster, Cluster], tmp_path: Path) -> None:
    """Acknowledged calls are on the new primary, the others in the journal, and the follower misses nothing."""
    primary, second = pair
    synchronous(primary)
    store = open_store(both(*pair), migrate=True)
    follower = Persistent(store)
    with Recorder(store, "s", journal=tmp_path / "journal") as recorder:
        for n in range(900):
            recorder.add_error("LLM", str(n))
            if n == 300:
                assert recorder.flush(60), recorder.health
                primary.stop()
            if n == 600:
                assert recorder.health.backlog_bytes > 0
                second.promote()
        assert recorder.flush(60), recorder.health
        assert (recorder.health.dropped, recorder.health.failed, recorder.health.rejected) == (0, 0, 0)
    assert [f.event.seq for f in follower.wait_for(900)] == list(range(900))
    follower.close()
    assert [e.seq for e in store.read("s")] == list(range(900))
    assert verify(store, "s") == []
    store.close()


@pytest.mark.parametrize("more", [0, 100], ids=["ids not assigned again yet", "ids assigned again"])
def test_asynchronous_replication_may_lose_events_and_the_recorder_goes_on(
    pair: tuple[Cluster, Cluster], tmp_path: Path, caplog: pytest.LogCaptureFixture, more: int
) -> None:
    """The journal no longer has what the old primary acknowledged: a gap in ``seq`` remains, and chains are valid.

    A follower that has read lost events misses none of those that the new primary stored before it came back.

    Break: in eventstore/stores/postgres/store.py, ``_write``, keep the ends of chains after an error; or in
    eventstore/stores/postgres/follow.py, ``_FOLLOW``, leave out ``min(first_xid)``.
    """
    primary, second = pair
    store = open_store(both(*pair), migrate=True)
    with Recorder(store, "s", journal=tmp_path / "journal") as recorder:
        for _ in range(10):
            recorder.add_error("LLM", "replicated")
        assert recorder.flush(60)
        synchronous(primary)
        store.append([event(0, session="mark")])  # is on the replica when this returns
        primary.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        second.stop()  # the replica falls behind
        for n in range(30):
            recorder.add_error("LLM", "lost")
            store.append([event(n, session="lost")])
        assert recorder.flush(60)
        caplog.set_level(logging.WARNING, "turnlog")
        follower = Follower(store)
        read = follower.wait_for(71)
        follower.close()
        primary.stop()
        second.start()
        second.promote()
        for _ in range(5):
            recorder.add_error("LLM", "after")
        assert recorder.flush(60), recorder.health
    for n in range(more):
        store.append([event(n, session="more")])  # a transaction each
    follower = Persistent(store, read[-1].position)
    found = follower.wait_for(5 + more)
    follower.close()
    assert [f.event.seq for f in found] == [*range(40, 45), *range(more)]
    assert "it lost transactions in a failover" in caplog.text
    assert [e.seq for e in store.read("s")] == [*range(10), *range(40, 45)]
    assert list(store.read("lost")) == []
    assert verify(store, "s") == []
    store.append([event(n, session="lost") for n in range(3)])  # of an origin that is not there any more
    assert verify(store, "lost") == []
    store.close()


def test_a_replica_is_read_and_followed(pair: tuple[Cluster, Cluster]) -> None:
    """By polling, as a replica has no LISTEN and no writes.

    Break: in eventstore/stores/postgres/follow.py, ``follow``, listen on a replica.
    """
    primary, second = pair
    synchronous(primary)
    primary.execute("ALTER SYSTEM SET synchronous_commit = 'remote_apply'", "SELECT pg_reload_conf()")
    store = open_store(primary.url(), migrate=True)
    store.append([event(n) for n in range(60)])
    reader: Store = open_store(second.url())
    follower = Follower(reader)
    store.append([event(60)])
    assert [f.event.seq for f in follower.wait_for(61)] == list(range(61))
    follower.close()
    assert len(list(reader.read("s"))) == 61
    assert verify(reader, "s") == []
    with pytest.raises(StoreReadOnly):
        reader.append([event(61)])
    reader.close()
    store.close()
