"""The contract of `Store`, tested on every backend (`conftest.store`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, Store, canonical, open_store
from eventstore.errors import IdentityConflict
from eventstore.stores.encrypted import EncryptedStore, master_keys
from eventstore.stores.memory import MemoryStore
from support.events import event
from support.examples import examples
from support.strategies import sessions


@pytest.fixture(params=["memory", "sqlite", "postgres", "postgres, copied"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Every backend, and each way in which it writes."""
    if request.param.startswith("postgres"):
        opened: Store = request.getfixturevalue("postgres")
        from eventstore.stores.postgres import append as postgres_append

        monkeypatch.setattr(postgres_append, "COPY_FROM", 1 if "copied" in request.param else 10_000)
    else:
        opened = open_store("memory:" if request.param == "memory" else tmp_path / "calls.db")
    yield opened
    opened.close()


def test_what_was_appended_is_read_back_in_order(store: Store) -> None:
    events = [event(n, payload='{"text":"मौसम 🙂 \\u0000"}') for n in range(50)]
    store.append(events[25:])
    store.append(events[:25])
    assert list(store.read("s")) == events


def test_an_unknown_session_is_empty(store: Store) -> None:
    assert list(store.read("nobody")) == []
    assert store.sessions() == []


def test_appending_nothing_is_fine(store: Store) -> None:
    assert list(store.append([])) == []


def test_positions_grow_and_a_repeat_gives_the_old_one(store: Store) -> None:
    first = list(store.append([event(0), event(1), event(2)]))
    assert all(a < b for a, b in pairwise(first))
    again = list(store.append([event(2), event(3), event(0)]))
    assert again[0] == first[2]
    assert again[2] == first[0]
    assert again[1] > first[2]
    assert len(list(store.read("s"))) == 4


def test_a_repeat_within_one_batch_is_one_event(store: Store) -> None:
    one, two = store.append([event(0), event(0)])
    assert one == two
    assert len(list(store.read("s"))) == 1


def test_other_content_under_one_identity_names_both_and_stores_nothing(store: Store) -> None:
    store.append([event(1, payload='{"text":"first"}')])
    with pytest.raises(IdentityConflict) as caught:
        store.append([event(0), event(1, payload='{"text":"second"}'), event(2)])
    assert "first" in str(caught.value)
    assert "second" in str(caught.value)
    assert [e.seq for e in store.read("s")] == [1]


def test_a_conflict_within_one_batch_stores_nothing(store: Store) -> None:
    with pytest.raises(IdentityConflict):
        store.append([event(0), event(1), event(1, payload='{"a":1}')])
    assert list(store.read("s")) == []


def test_sessions_are_listed_latest_first(store: Store) -> None:
    store.append([event(n, session="early") for n in range(3)])
    store.append([event(n, session="late", origin=origin, wall_ns=2 * 10**18) for origin in "ab" for n in range(2)])
    late, early = store.sessions()
    assert (late.session_id, late.events, late.origins) == ("late", 4, 2)
    assert early == ("early", 3, 1, 10**18, 10**18 + 2)


def test_a_reader_that_stops_early_does_no_harm(store: Store) -> None:
    store.append([event(n) for n in range(100)])
    reader = store.read("s")
    assert next(reader).seq == 0
    store.append([event(100)])
    del reader
    assert len(list(store.read("s"))) == 101


@pytest.mark.parametrize("encrypted", [False, True])
def test_many_sessions_are_read_as_each_of_them(store: Store, encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the names: long sessions and short ones, of several origins, unknown and repeated ones.

    Break: in eventstore/stores/postgres/store.py, ``read_many``, go on behind the first session that was not fetched.
    """
    postgres_store = pytest.importorskip("eventstore.stores.postgres.store")
    monkeypatch.setattr(postgres_store, "FETCH_ALL_EVENTS", 20)
    monkeypatch.setattr(postgres_store, "READ_TOGETHER", 4)
    if encrypted:
        store = EncryptedStore(store, master_keys("A" * 43 + "="))
    sizes = [1, 15, 4, 2, 30, 3, 9, 9, 9, 21, 1, 1, 1, 1, 1, 19]
    for number, size in enumerate(sizes):
        store.append(
            [
                event(n, session=str(number), origin=origin, payload='{"message":"private"}')
                for n in range(size)
                for origin in "ba"[: 1 + number % 2]
            ]
        )
    names = [*map(str, range(len(sizes))), "unknown", "3", "3", "4", "0"]
    found = [(name, list(events)) for name, events in store.read_many(iter(names))]
    assert [name for name, _events in found] == names
    assert found == [(name, list(store.read(name))) for name in names]
    assert [len(events) for _name, events in found[:6]] == [1, 30, 4, 4, 30, 6]
    assert list(store.read_many([])) == []


def test_of_many_sessions_one_may_be_left_half_read(store: Store) -> None:
    """Break: in eventstore/stores/sqlite/store.py, ``read_many``, do not close the events."""
    for session in ("1", "2"):
        store.append([event(n, session=session) for n in range(300)])
    found = []
    for name, events in store.read_many(["1", "2"]):
        found.append((name, next(events).seq))
        store.append([event(300, session=name)])
    assert found == [("1", 0), ("2", 0)]


def test_many_threads_append_at_once(store: Store) -> None:
    def work(origin: str) -> None:
        for n in range(0, 200, 10):
            store.append([event(k, origin=origin) for k in range(n, n + 10)])

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.sessions()[0].events == 800


@settings(max_examples=examples(50))
@given(sessions(), st.integers(1, 9))
def test_reading_is_canonical(events: list[Event], batch: int) -> None:
    store = MemoryStore()
    for at in range(0, len(events), batch):
        store.append(events[at : at + batch])
    assert list(store.read("s")) == canonical(events)
