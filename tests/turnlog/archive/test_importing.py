"""An import reads a file twice, to check it and to append it in batches, and never holds a session whole."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import open_store
from eventstore.integrity.gaps import Seqs
from eventstore.integrity.session import verify
from eventstore.stores.memory import MemoryStore
from exporters.files.jsonl import session_heading
from support.program import Program
from turnlog.archive import files as archive
from turnlog.archive import importing
from turnlog.archive.importing import BATCH_EVENTS, batches

CALL = (
    b'{"session":"long","target":"collector","hook":"on_stt_complete",'
    b'"args":{"transcript":"%s"},"perf_ns":%d,"wall_ns":%d}\n'
)


def long_call(folder: Path, events: int, name: str = "long.jsonl") -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.writelines(CALL % (b"word " * 20, n, n) for n in range(events))
    return path


def archived(folder: Path, calls: Path) -> Path:
    store = MemoryStore()
    for batch in batches(calls, lambda path: path.open("rb")):
        store.append(batch.events)
    return archive.write_archive(store, session_heading(store, "long"), folder)


PEAK = """
import sys, tracemalloc
from pathlib import Path
from turnlog.archive.importing import batches
opener = lambda path: path.open("rb")
sum(len(batch.events) for batch in batches(Path(sys.argv[1]), opener))  # what is loaded and cached only once
tracemalloc.start()
events = sum(len(batch.events) for batch in batches(Path(sys.argv[2]), opener))
print(events, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["calls", "archive"])
def test_memory_does_not_grow_with_the_session(tmp_path: Path, kind: str) -> None:
    """Break: in turnlog/archive/importing.py, ``batches``, never yield before the end."""
    peaks = []
    for events in (3 * BATCH_EVENTS, 12 * BATCH_EVENTS):
        path = long_call(tmp_path, events, f"{events}.jsonl")
        path = archived(tmp_path, path) if kind == "archive" else path
        done = subprocess.run([sys.executable, "-c", PEAK, path, path], capture_output=True, text=True, check=True)
        read, peak = map(int, done.stdout.split())
        assert read == events
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("kind", ["calls", "archive"])
def test_of_a_file_that_is_bad_at_its_end_nothing_is_imported(program: Program, kind: str) -> None:
    """Break: in turnlog/cli/commands/log.py, ``import_``, leave out the first pass."""
    path = long_call(program.folder, 2 * BATCH_EVENTS)
    if kind == "archive":
        path = archived(program.folder, path)
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path = program.folder / "cut.jsonl"
        path.write_bytes(b"".join(lines[:-1]))
        message = f"{2 * BATCH_EVENTS - 1} of {2 * BATCH_EVENTS} events"
    else:
        path.write_bytes(path.read_bytes() + b'{"session":"long","target":"collector","hook":"nope"}\n')
        message = f"long.jsonl:{2 * BATCH_EVENTS + 1}"
    assert message in program.fails("import", path)
    assert orjson.loads(program.run("sessions", "--json").stdout) == []


@pytest.mark.parametrize("kind", ["calls", "archive"])
def test_an_import_that_was_interrupted_is_finished_by_the_next(program: Program, kind: str) -> None:
    path = long_call(program.folder, 3 * BATCH_EVENTS)
    if kind == "archive":
        path = archived(program.folder, path)
    store = open_store(program.db)
    store.append(next(batches(path, lambda path: path.open("rb"))).events)
    store.close()
    assert f"imported 1 session, {3 * BATCH_EVENTS:,} events" in program.run("import", path).stdout
    store = open_store(program.db)
    assert verify(store, "long") == []
    assert [event.seq for event in store.read("long")] == list(range(3 * BATCH_EVENTS))
    store.close()


def test_a_batch_ends_with_what_makes_it_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_BYTES", 1_000)
    found = list(batches(long_call(tmp_path, 100), lambda path: path.open("rb")))
    assert sum(len(batch.events) for batch in found) == 100
    assert [batch.sessions for batch in found] == [1] + [0] * (len(found) - 1)
    assert all(sum(len(event.payload) for event in batch.events[:-1]) < 1_000 for batch in found)


@given(st.lists(st.integers(0, 30)))
def test_a_number_that_has_come_is_known(numbers: list[int]) -> None:
    seen: set[int] = set()
    ranges = Seqs()
    for number in numbers:
        assert ranges.add(number) is (number not in seen)
        seen.add(number)
    assert [
        n for first, last in zip(ranges._first, ranges._last, strict=True) for n in range(first, last + 1)
    ] == sorted(seen)
