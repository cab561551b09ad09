"""Following a log live, on every backend: nothing is skipped, nothing comes twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from msgspec.structs import astuple
from sqlalchemy.event import listens_for

from eventstore import Store, open_store
from eventstore.errors import StoreError
from eventstore.stores.chain import genesis, link
from eventstore.stores.postgres.store import PostgresStore
from eventstore.stores.sqlite.store import SqliteStore
from support.events import event
from support.follower import Follower


@pytest.fixture
def followers() -> Iterator[list[Follower]]:
    made: list[Follower] = []
    yield made
    for follower in made:
        follower.close()


def test_a_follower_catches_up_and_stays(store: Store, followers: list[Follower]) -> None:
    store.append([event(n) for n in range(5)])
    followers.append(Follower(store))
    followers[0].wait_for(5)
    store.append([event(n) for n in range(5, 7)])
    assert [f.event for f in followers[0].wait_for(7)] == [event(n) for n in range(7)]


def test_a_follower_goes_on_from_a_position(store: Store, followers: list[Follower]) -> None:
    store.append([event(n) for n in range(2500)])
    followers.append(Follower(store))
    seen = followers[0].wait_for(2500)
    followers.append(Follower(store, after=seen[1233].position))
    store.append([event(2500)])
    assert [f.event.seq for f in followers[1].wait_for(1267)] == list(range(1234, 2501))


def test_a_follower_of_one_session(store: Store, followers: list[Follower]) -> None:
    followers.append(Follower(store, session_id="b"))
    for n in range(10):
        store.append([event(n, session="a"), event(n, session="b")])
    assert [f.event for f in followers[0].wait_for(10)] == [event(n, session="b") for n in range(10)]


class Acting:
    """Ends a follower after some actions; instead of waiting, the next one is done."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self.actions = list(actions)

    def is_set(self) -> bool:
        return not self.actions

    def wait(self, _seconds: float) -> None:
        self.actions.pop(0)()


def test_a_follower_of_a_quiet_session_does_not_read_the_others(tmp_path: Path) -> None:
    """Counted in steps of SQLite. Break: in sqlite/store.py, ``follow``, do not go on from the newest position."""
    store, steps, counts = SqliteStore(f"sqlite:///{tmp_path / 'log.db'}"), [0], []

    def count() -> None:
        steps[0] += 100

    def busy(first: int, last: int, session: str = "busy") -> None:
        counts.append(steps[0])
        store.append([event(n, session=session) for n in range(first, last)])
        steps[0] = 0

    store.append([event(n, session="before") for n in range(20_000)])
    store.append([event(0, session="quiet")])
    store._engine.dispose()  # so that the steps of every connection are counted
    listens_for(store._engine, "connect")(lambda driver, _: driver.set_progress_handler(count, 100))
    acting = Acting(
        lambda: busy(0, 20_000), lambda: busy(20_000, 20_001), lambda: busy(1, 3, "quiet"), lambda: busy(0, 0)
    )
    found = list(store.follow(session_id="quiet", stop=acting))  # type: ignore[arg-type]
    assert [each.event.seq for each in found] == [0, 1, 2]
    first, after_many, after_one, _last = counts
    assert max(first, after_one) < 10_000 < after_many
    store.close()


def test_a_position_of_something_else_is_refused(sqlite: Store, postgres: Store) -> None:
    for store, wrong in ((sqlite, "1:2"), (postgres, "17"), (postgres, "x:y")):
        with pytest.raises(StoreError, match="not a position of this store"):
            next(iter(store.follow(wrong)))


def many_writers(store: Store, writers: int, batches: int) -> int:
    """Appends concurrently in batches of different sizes; returns the number of events."""

    def write(writer: int) -> None:
        seq = 0
        for batch in range(batches):
            size = (1, 3, 70, 200)[(batch + writer) % 4]
            store.append([event(seq + n, origin=str(writer)) for n in range(size)])
            seq += size

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return writers * batches // 4 * 274


def test_many_writers_and_a_live_follower(store: Store, followers: list[Follower]) -> None:
    """Break: in eventstore/stores/postgres/follow.py, ``_FOLLOW``, compare positions alone."""
    followers.append(Follower(store))
    count = many_writers(store, 8, 20)
    seen = followers[0].wait_for(count)
    assert len({f.event.identity for f in seen}) == len(seen) == count
    assert len({f.position for f in seen}) == count


def test_postgres_transactions_are_followed_by_number(postgres: PostgresStore, followers: list[Follower]) -> None:
    """Not as text, in which 10 sorts before 9.

    Break: in eventstore/stores/postgres/follow.py, ``_FOLLOW``, order by ``xid`` without its table.
    """
    postgres.append([event(0)])
    with postgres._driver() as driver:
        driver.execute("ALTER TABLE events DISABLE TRIGGER events_extend")  # no transaction may say what number it has
        for seq, xid in enumerate((9, 10, 99, 100, 101), 1):
            driver.execute(
                "INSERT INTO events (xid, origin_id, seq, hook, version, perf_ns, wall_ns, payload, link) "
                "SELECT %s::xid8, id, %s, 'on_eou_start', 1, 1, 1, '{}', '' FROM origins",
                (str(xid), seq),
            )
        driver.execute("ALTER TABLE events ENABLE TRIGGER events_extend")
    followers.append(Follower(postgres))
    seen = followers[0].wait_for(6)
    assert [f.event.seq for f in seen] == [1, 2, 3, 4, 5, 0]
    postgres.append([event(9)])
    assert [f.event.seq for f in followers[0].wait_for(7)[6:]] == [9]


def test_two_processes_or_two_stores(tmp_path: Path, followers: list[Follower]) -> None:
    """A commit of another process wakes a follower too."""
    reader, writer = open_store(tmp_path / "calls.db"), open_store(tmp_path / "calls.db")
    followers.append(Follower(reader))
    for n in range(20):
        writer.append([event(n)])
        followers[0].wait_for(n + 1)
    followers[0].close()
    reader.close()
    writer.close()


def test_postgres_an_event_that_commits_late_is_not_passed_over(
    postgres: PostgresStore, postgres_url: str, followers: list[Follower]
) -> None:
    """One transaction takes its position, another takes the next and commits, and only then the first commits.

    A reader ordered by position would have skipped the first by then.
    """
    followers.append(Follower(postgres))
    postgres.append([event(0, origin="late")])
    late_one = event(1, origin="late")
    insert = (
        "INSERT INTO events (origin_id, seq, hook, version, perf_ns, wall_ns, payload, link) "
        "SELECT id, %s, %s, %s, %s, %s, %s, %s FROM origins WHERE origin = 'late'"
    )
    row = *astuple(late_one)[2:], link(link(genesis("s", "late"), event(0, origin="late")), late_one)
    plain = postgres_url.replace("+psycopg", "")
    with psycopg.connect(plain) as late, psycopg.connect(plain, autocommit=True) as naive:
        late.execute(insert, row)
        postgres.append([event(0, origin="early")])
        cursor = 0
        passed: list[str] = []

        def look() -> None:
            nonlocal cursor
            query = "SELECT position, origin FROM event_log WHERE position > %s ORDER BY position"
            for position, origin in naive.execute(query, (cursor,)):
                cursor = position
                passed.append(origin)

        look()
        assert passed == ["late", "early"]
        assert len(followers[0].wait_for(1)) == 1, "no more before the late one has ended"
        late.commit()
        look()
        assert passed == ["late", "early"], "the naive reader never sees the late one"
    assert {f.event.origin for f in followers[0].wait_for(3)} == {"late", "early"}
