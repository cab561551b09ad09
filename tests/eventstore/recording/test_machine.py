"""Recorder, journal and store as a state machine: calls, flushes, outages, crashes, recoveries, in any order.

The model is a list of the calls that returned. Whatever happened, after a last recovery the log holds exactly those.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventstore import Recorder, codec, open_store, recover
from eventstore.errors import StoreUnavailable
from eventstore.stores.base import Store
from eventstore.stores.sqlite.store import SqliteStore
from support.examples import examples

pytestmark = pytest.mark.slow


class Switchable:
    """A store that can be down."""

    def __init__(self, store: Store) -> None:
        self.store, self.down = store, False
        self.journal = store.journal

    def append(self, events: Any) -> Any:
        if self.down:
            raise StoreUnavailable("down")
        return self.store.append(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Recording(RuleBasedStateMachine):
    """Break: in eventstore/recording/backlog.py, ``acknowledge``, close segments that are not acknowledged to their
    end; in
    ``close``, remove every segment; or in eventstore/recording/journal.py, ``take``, skip one event.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="turnlog-machine-"))
        store = open_store(self.folder / "calls.db")
        assert isinstance(store, SqliteStore)
        self.store = Switchable(store)
        self.expected: dict[str, list[int]] = {}
        self.recorders: list[Recorder] = []
        self.count = 0

    @precondition(lambda self: len(self.recorders) < 3)
    @rule()
    def start(self) -> None:
        recorder = Recorder(self.store, "s")  # type: ignore[arg-type]
        self.recorders.append(recorder)
        self.expected[recorder.origin] = []

    @initialize()
    def begin(self) -> None:
        self.start()

    @precondition(lambda self: self.recorders)
    @rule(which=st.integers(0, 2), padding=st.sampled_from([0, 300]))
    def call_once(self, which: int, padding: int) -> None:
        self.call(which, 1, padding)

    @precondition(lambda self: self.recorders)
    @rule(which=st.integers(0, 2), times=st.integers(1, 30), padding=st.sampled_from([0, 10, 5_000, 300_000]))
    def call(self, which: int, times: int, padding: int) -> None:
        recorder = self.recorders[which % len(self.recorders)]
        for _ in range(times if padding < 5_000 else 2):
            self.count += 1
            recorder.add_error("x" * padding, str(self.count))
            self.expected[recorder.origin].append(self.count)

    @precondition(lambda self: self.recorders and not self.store.down)
    @rule(which=st.integers(0, 2))
    def flush(self, which: int) -> None:
        recorder = self.recorders[which % len(self.recorders)]
        assert recorder.flush()
        assert self.stored().get(recorder.origin, []) == self.expected[recorder.origin]

    @rule()
    def outage(self) -> None:
        self.store.down = not self.store.down

    @precondition(lambda self: self.recorders)
    @rule(which=st.integers(0, 2))
    def close(self, which: int) -> None:
        recorder = self.recorders.pop(which % len(self.recorders))
        closed = recorder.close(timeout=0.05 if self.store.down else 10)
        assert closed or self.store.down

    @precondition(lambda self: self.recorders)
    @rule()
    def crash(self) -> None:
        """The process is gone between two calls: its files are unlocked as they are, and nothing is flushed."""
        writer = self.recorders[0]._writer
        writer._deadline = 0.0
        writer._closing.set()
        writer._flush_requested.set()
        writer.backlog.wake.set()
        self.store.down, was_down = True, self.store.down
        writer._thread.join()
        self.store.down = was_down
        from eventstore.recording import writer as module

        module._writers.pop(self.store, None)  # type: ignore[call-overload]
        writer.backlog.detach_after_fork()
        for recorder in self.recorders:
            recorder._closed = True
        self.recorders.clear()

    @precondition(lambda self: not self.store.down)
    @rule()
    def recover(self) -> None:
        assert self.store.journal is not None
        recover(self.store, self.store.journal)  # type: ignore[arg-type]

    def stored(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for event in self.store.read("s"):
            found.setdefault(event.origin, []).append(int(codec.decode(event)["message"]))
        return found

    @invariant()
    def nothing_is_stored_that_was_not_called(self) -> None:
        # in order, but perhaps with gaps for now: two recoveries at once may store a later file before an earlier one
        for origin, numbers in self.stored().items():
            called = set(numbers)
            assert numbers == [number for number in self.expected[origin] if number in called]

    def teardown(self) -> None:
        self.store.down = False
        for recorder in self.recorders:
            assert recorder.close()
            assert recorder.health.dropped == recorder.health.failed == 0
        assert self.store.journal is not None
        recover(self.store, self.store.journal)  # type: ignore[arg-type]
        assert self.stored() == {origin: numbers for origin, numbers in self.expected.items() if numbers}
        self.store.close()
        shutil.rmtree(self.folder)


TestRecording = Recording.TestCase
TestRecording.settings = settings(max_examples=examples(120), stateful_step_count=30, deadline=None)
