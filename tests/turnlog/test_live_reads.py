"""What live reads cost: memory that does not grow with the session, and work for what is new in it alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import turnlog.recorder
from eventstore import Event, Store
from eventstore.errors import StoreUnavailable
from eventstore.recording import frames
from eventstore.stores.memory import MemoryStore
from projections import replay
from projections.reference.fold import fold
from projections.reference.state import State
from turnlog import Recorder
from turnlog.finished import CHUNK


def take_a_turn(recorder: Recorder, n: int) -> None:
    recorder.on_user_speech_start()
    recorder.set_user_transcript(f"question {n}")
    recorder.on_llm_start()
    recorder.on_llm_first_token()
    recorder.add_error("LLM", f"error {n}")
    recorder.complete_turn()


def test_all_turns_of_a_long_session_are_shown(store: Store) -> None:
    """Break: in turnlog/finished.py, ``turns``, leave out the chunks."""
    with Recorder(store, "s") as recorder:
        for n in range(3 * CHUNK + 5):
            take_a_turn(recorder, n)
            assert recorder.current_turn is None
            assert len(recorder.turns) == n + 1
        recorder.flush()
        assert recorder.turns == replay(store.read("s"), rules="videosdk-1.0").turns


def test_only_the_latest_turns_are_kept_unpacked(store: Store) -> None:
    """Break: in turnlog/finished.py, ``append``, compress nothing; or in ``DiscardingList``, keep what is added."""
    with Recorder(store, "s") as recorder:
        for n in range(10 * CHUNK + 3):
            take_a_turn(recorder, n)
        assert len(recorder.turns) == 10 * CHUNK + 3
        state = recorder._live.state
        values = {each.name: getattr(state, each.name) for each in fields(state)}
        kept = {name: len(value) for name, value in values.items() if isinstance(value, list)}
    assert len(recorder._live.finished._latest) == 3
    assert max(kept.values()) == 0, kept


class Watched(MemoryStore):
    """A database that can be down, and counts the events that are read of it."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.down, self.counts = False, counts

    def append(self, events: Iterable[Event]) -> Any:
        if self.down:
            raise StoreUnavailable("the database is down")
        return super().append(events)

    def read(self, session_id: str) -> Iterator[Event]:
        for event in super().read(session_id):
            self.counts["read"] += 1
            yield event


def test_a_live_read_works_off_what_is_new_for_its_session_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have calls in the store, and many more in the journal, as the database is down.

    Break: in eventstore/recording/backlog.py, ``pending_events``, decode all; or in turnlog/recorder.py, ``catch_up``,
    read the store.
    """
    counts: Counter[str] = Counter()
    reader = threading.get_ident()  # the writer's thread decodes what it stores

    def decode(body: bytes, real: Callable[[bytes], Event] = frames.decode) -> Event:
        counts["decoded"] += threading.get_ident() == reader
        return real(body)

    def count_and_fold(state: State, events: Iterable[Event]) -> State:
        events = list(events)
        counts["folded"] += len(events)
        return fold(state, events)

    store = Watched(counts)
    everyone = [Recorder(store, f"session {n}", journal=tmp_path) for n in range(20)]
    mine = everyone[7]

    def each_records(calls: int) -> None:
        for recorder in everyone:
            for n in range(calls):
                recorder.add_error("LLM", str(n))

    each_records(3)
    assert mine.flush()
    store.down = True
    each_records(100)
    monkeypatch.setattr(frames, "decode", decode)
    monkeypatch.setattr(turnlog.recorder, "fold", count_and_fold)
    assert mine.turns == []
    assert counts == {"read": 3, "decoded": 100, "folded": 103}
    for _ in range(3):
        counts.clear()
        each_records(7)
        assert mine.turns == []
        assert counts == {"decoded": 7, "folded": 7}
    counts.clear()
    assert mine.current_turn is None
    assert not counts.total()
    store.down = False
    for recorder in everyone:
        assert recorder.close()
