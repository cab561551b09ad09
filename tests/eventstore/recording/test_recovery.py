"""Recovery of damaged files and refused events: each affects no other, and no byte is lost silently."""

from __future__ import annotations

import base64
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, recover
from eventstore.errors import IdentityConflict, StoreError, StoreUnavailable
from eventstore.recording import frames, journal
from eventstore.recording.backlog import Backlog
from eventstore.recording.journal import Segment, files
from eventstore.recording.recovery import recover_all
from eventstore.recording.refused_events import set_aside
from eventstore.recording.resync import pieces
from eventstore.stores.memory import MemoryStore
from support.examples import examples
from support.journals import frame, leave_behind
from support.program import TESTS, Program
from turnlog import Recorder, open_store

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"A", b"B"))


def seqs(store: Any, session: str = "s") -> list[int]:
    return [event.seq for event in store.read(session)]


def damaged(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.damaged")))


# damage -------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(150))
@given(st.lists(st.tuples(st.integers(0, 40 * 60), st.integers(0, 7)), min_size=1, max_size=6))
def test_any_flipped_bits_cost_only_the_frames_they_are_in(flips: list[tuple[int, int]]) -> None:
    """Break: in eventstore/recording/resync.py, ``_follower``, return None:

    a flipped length takes whole frames with it.
    """
    data, size = bytearray(b"".join(frame(n) for n in range(40))), len(frame(0))
    hit = set()
    for at, bit in flips:
        if at < len(data):
            data[at] ^= 1 << bit
            hit.add(at // size)
    found = list(pieces(bytes(data) + bytes(500), 0, len(data) + 500))
    read = [piece.event.seq for piece in found if piece.event is not None]
    assert len(read) == len(set(read))
    assert set(range(40)) - set(read) <= hit
    assert b"".join(data[piece.start : piece.stop] for piece in found) == data[: found[-1].stop]


def test_a_damaged_frame_costs_itself_alone(program: Program) -> None:
    """Break: in eventstore/recording/resync.py, ``damage``, stop at the first."""
    open_store(program.db).close()
    folder = program.folder / "calls.db.journal"
    whole = bytearray(b"".join(frame(n) for n in range(300)))
    size = len(frame(0))
    for n in (0, 100, 101, 299):
        whole[n * size + 40] ^= 1
    path = leave_behind(folder, bytes(whole))
    done = program.run("recover", code=1)
    assert "recovered 296 events" in done.stdout
    assert f"{path} is damaged in 3 place(s)" in done.stderr
    assert f"{4 * size} bytes" in done.stderr
    store = open_store(program.db)
    assert seqs(store) == [n for n in range(300) if n not in (0, 100, 101, 299)]
    store.close()
    assert damaged(folder) == bytes(whole[:size] + whole[100 * size : 102 * size] + whole[299 * size :])
    assert [file.stat().st_mode & 0o777 for file in folder.iterdir()] == [0o600]
    assert "nothing to recover" in program.run("recover").stdout


def test_a_frame_in_a_payload_is_no_event(tmp_path: Path) -> None:
    """Whether the surrounding frame is whole or damaged.

    Break: in eventstore/recording/resync.py, ``_trusted_stop``, return 0.
    """
    inner = frame(7, "{}").decode("latin-1")
    outer = frame(1, '{"text":"' + "y" * 40 + inner + '"}')
    bad = bytearray(outer)
    bad[bad.index(b"yyy")] ^= 1
    leave_behind(tmp_path, frame(0) + outer + bytes(bad) + frame(2))
    store = MemoryStore()
    assert recover(store, tmp_path) == 3
    assert seqs(store) == [0, 1, 2]
    assert damaged(tmp_path) == bytes(bad)


@pytest.mark.parametrize("at", range(16))
def test_a_damaged_head_costs_nothing(tmp_path: Path, at: int) -> None:
    path = leave_behind(tmp_path, frame(0) + frame(1))
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)
    store = MemoryStore()
    found = recover_all(store, tmp_path)
    assert seqs(store) == [0, 1]
    assert len(found.damaged) == 1
    assert damaged(tmp_path)


def test_a_mark_that_points_beyond_what_is_stored_is_not_believed(tmp_path: Path) -> None:
    """Break: in eventstore/recording/journal.py, ``begin``, believe any mark inside the file."""
    path = leave_behind(tmp_path, frame(0) + frame(1) + frame(2))
    data = path.read_bytes()
    path.write_bytes(data[:8] + (60_000).to_bytes(8, "little") + data[16:])
    store = MemoryStore()
    recover(store, tmp_path)
    assert seqs(store) == [0, 1, 2]


@pytest.mark.parametrize("left", [0, 3, 8, 12, 16, 20, 100])
def test_a_truncated_file_keeps_what_is_left(tmp_path: Path, left: int) -> None:
    path = leave_behind(tmp_path, frame(0) + frame(1) + frame(2))
    data = path.read_bytes()[:left]
    path.write_bytes(data)
    store = MemoryStore()
    found = recover_all(store, tmp_path)
    whole = max(0, left - 16) // len(frame(0))
    assert seqs(store) == list(range(whole))
    assert found.complete == (left in (16, 20)), "a few bytes may be a call that was cut off"
    kept = data[16 + whole * len(frame(0)) :] if left >= 16 else data
    assert damaged(tmp_path).rstrip(b"\0") == kept.rstrip(b"\0")


def test_zeros_in_the_middle_are_damage_and_what_was_wiped_is_not(tmp_path: Path) -> None:
    data = frame(0) + bytes(len(frame(1))) + frame(2)
    leave_behind(tmp_path, data)
    store = MemoryStore()
    assert len(recover_all(store, tmp_path).damaged) == 1
    assert seqs(store) == [0, 2]
    segment = Segment(tmp_path / "wiped", 1 << 16)
    for n in range(5):
        segment.write(frame(n))
    segment.take(2 * len(frame(0)))
    segment.acknowledge(wipe=True)
    segment.close(remove=False)
    bare = bytearray(segment.path.read_bytes())
    bare[8:16] = bytes(8)  # the mark is damaged as well
    for content in (segment.path.read_bytes(), bytes(bare)):
        segment.path.write_bytes(content)
        store = MemoryStore()
        found = recover_all(store, tmp_path / "wiped")
        assert seqs(store) == [2, 3, 4]
        assert bool(found.damaged) == (content == bare)


def test_a_call_cut_off_by_a_kill_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_behind(tmp_path, frame(0) + frame(1)[:30])
    found = recover_all(MemoryStore(), tmp_path)
    assert (found.moved, found.complete) == (1, True)
    assert "cut off while it was written" in caplog.text
    assert damaged(tmp_path) == frame(1)[:30].rstrip(b"\0")


def test_recovery_begun_again_keeps_the_damage_once(tmp_path: Path) -> None:
    path = leave_behind(tmp_path, frame(0) + b"\x01damage!" * 9 + frame(1))
    copy = path.read_bytes()
    recover(MemoryStore(), tmp_path)
    path.write_bytes(copy)
    recover(MemoryStore(), tmp_path)
    assert damaged(tmp_path) == b"\x01damage!" * 9


def test_a_living_writer_goes_on_behind_damage(tmp_path: Path) -> None:
    """Break: in eventstore/recording/journal.py, ``take``, return what ``bodies`` finds."""
    backlog = Backlog(tmp_path, segment_bytes=1 << 16, limit_bytes=1 << 20)
    size = len(frame(0))
    for n in range(10):
        backlog.write(frame(n))
    (segment,) = backlog._segments
    for at in (0, 4 * size + 30):
        segment._map[16 + at] ^= 4
    taken = []
    while batch := backlog.take():
        taken += [event.seq for event in batch]
        backlog.acknowledge()
    assert [n for n in taken if n] == [1, 2, 3, 5, 6, 7, 8, 9]
    assert backlog.damaged > 0
    assert "is damaged" in str(backlog.last_error)
    backlog.write(frame(10))
    assert [event.seq for event in backlog.take()] == [10]
    backlog.acknowledge()
    assert backlog.size_bytes() == 0
    backlog.close()
    assert frame(4)[:30] in damaged(tmp_path)


def test_work_grows_with_the_file_whatever_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many offsets look like the beginning of a frame that extends to the end.

    Break: in eventstore/recording/resync.py, ``_Checksums.range``, read every range.
    """
    chance, read = random.Random(1), 0

    def counting(data: memoryview, start: int = 0) -> int:
        nonlocal read
        read += len(data)
        return crc32(data, start)

    monkeypatch.setattr("eventstore.recording.resync.crc32", counting)

    def work(size: int) -> int:
        nonlocal read
        read, data = 0, bytearray(chance.randbytes(size))
        for at in range(0, size - 100, 512):
            data[at : at + 16] = frames.FRAME.pack(size - at - 8, 0) + b"\1\0\1\0\1\0\1\0"
        assert [piece.event for piece in pieces(bytes(data), 0, size)] == [None]
        return read

    assert work(1 << 20) < 5 * work(1 << 18), "four times the bytes"


def test_every_file_of_a_folder_is_listed_with_what_is_in_it(tmp_path: Path) -> None:
    living = Segment(tmp_path, 1 << 12)
    living.write(frame(0))
    leave_behind(tmp_path, frame(1))
    set_aside(tmp_path, [Event("t", "o", 2, "on_eou_start", 1, 1, 1, "{}")], 1 << 20)
    (tmp_path / "x.journal.damaged").write_bytes(b"bytes")
    found = {file.kind: file for file in files(tmp_path)}
    assert {kind: [e.seq for e in file.contents.events] for kind, file in found.items()} == {
        "pending": [0], "crashed": [1], "set aside": [2], "damaged": [],
    }  # fmt: skip
    assert found["damaged"].contents.damage == [b"bytes"]
    living.close(remove=True)


def test_a_strangers_unfinished_file_stays(tmp_path: Path) -> None:
    for name, content in (("notes.new", b"mine"), ("dead.new", journal.EMPTY + bytes(100))):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1, 1))
    recover(MemoryStore(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.new"]


# refusals -----------------------------------------------------------------------------------------------------------


class Picky(MemoryStore):
    """Refuses some events for good."""

    def __init__(self, *refused: tuple[str, int]) -> None:
        super().__init__()
        self.refused = set(refused)
        self.appends = 0

    def append(self, events: Iterable[Event]) -> Any:
        batch = list(events)
        self.appends += 1
        if any((event.session_id, event.seq) in self.refused for event in batch):
            raise StoreError("this one I do not take")
        return super().append(batch)


def test_an_event_that_is_refused_is_set_aside_and_blocks_nothing(tmp_path: Path) -> None:
    """Break: in eventstore/recording/writer.py, ``_set_aside``, write nothing;

    or in refused_events.py, ``_parts``, return [].
    """
    store = Picky(("a", 3))
    bad, good = (Recorder(store, name, origin="o", journal=tmp_path) for name in "ab")
    for _ in range(10):
        bad.on_eou_start()
        good.on_eou_start()
    assert not bad.flush()
    assert bad.flush()
    assert seqs(store, "a") == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert seqs(store, "b") == list(range(10))
    assert (bad.health.set_aside, bad.health.rejected, bad.health.lost, good.health.lost) == (1, 1, 1, 0)
    assert good.close()
    assert not bad.close()
    (aside,) = tmp_path.glob("*.aside")
    assert aside.stat().st_mode & 0o777 == 0o600
    found = recover_all(store, tmp_path)
    assert [(part.events[0].seq, str(part.error)) for part in found.refused] == [(3, "this one I do not take")]
    assert aside.exists()
    store.refused.clear()
    assert recover_all(store, tmp_path).complete
    assert seqs(store, "a") == list(range(10))
    assert list(tmp_path.iterdir()) == []


def test_at_the_bound_what_is_refused_is_dropped_and_counted(tmp_path: Path) -> None:
    store = Picky(*(("s", n) for n in range(100)))
    with Recorder(store, "s", journal=tmp_path, journal_limit_bytes=2000) as recorder:
        for _ in range(100):
            recorder.set_user_transcript("x" * 40)
    health = recorder.health
    assert health.dropped > 0
    assert health.set_aside + health.dropped == 100
    assert sum(path.stat().st_size for path in tmp_path.glob("*.aside")) <= 2100


def test_a_session_under_another_master_key_blocks_no_other(program: Program) -> None:
    """From a crashed process and a living one. With the right key, `recover` stores them."""
    store = open_store(program.db, master_key=OLD)
    assert store.journal is not None
    with Recorder(store, "lobby") as recorder:
        recorder.set_user_transcript("first")
    store.close()
    lobby = Event("lobby", "crashed", 0, "set_user_transcript", 1, 1, 1, '{"transcript":"second"}')
    leave_behind(store.journal, frames.encode(lobby))
    store = open_store(program.db, master_key=NEW)
    fresh, again = Recorder(store, "fresh"), Recorder(store, "lobby")
    again.set_user_transcript("third")
    for n in range(100):
        fresh.set_user_transcript(str(n))
    assert fresh.flush(30)
    assert len(list(store.read("fresh"))) == 100
    assert fresh.close()
    assert not again.close()
    store.close()
    done = program.run("recover", code=1, TURNLOG_MASTER_KEY=NEW)
    assert "2 call(s) of session 'lobby' stay set aside: session 'lobby' was recorded under another" in done.stderr
    assert "recovered 2 events" in program.run("recover", TURNLOG_MASTER_KEY=OLD).stdout
    assert list(store.journal.iterdir()) == []


@pytest.mark.parametrize("payload", ['{"text":"a\\u0000b"}', "\x00", '{"text":"' + "x" * 900_000 + '"}'])
def test_odd_events_are_stored_or_set_aside(store: Any, tmp_path: Path, payload: str) -> None:
    odd = Event("s", "o", 1, "set_llm_input", 1, 1, 1, payload)
    good = [Event("s", "o", n, "on_eou_start", 1, n, n, "{}") for n in (0, 2)]
    leave_behind_any(tmp_path, b"".join(map(frames.encode, [good[0], odd, good[1]])))
    found = recover_all(store, tmp_path)
    assert {0, 2} <= {event.seq for event in store.read("s")}
    assert found.moved + sum(len(part.events) for part in found.refused) == 3


def leave_behind_any(folder: Path, data: bytes) -> None:
    segment = Segment(folder, len(data) + 100)
    segment.write(data)
    segment.close(remove=False)


def test_an_identity_conflict_is_set_aside_with_its_content(tmp_path: Path) -> None:
    store = MemoryStore()
    store.append([Event("s", "o", 0, "on_llm_start", 1, 1, 1, "{}")])
    leave_behind(tmp_path, frame(0) + frame(1))
    found = recover_all(store, tmp_path)
    assert (found.moved, len(found.refused)) == (1, 1)
    assert isinstance(found.refused[0].error, IdentityConflict)
    (aside,) = (file for file in files(tmp_path) if file.kind == "set aside")
    assert [event.hook for event in aside.contents.events] == ["set_llm_input"]


class Stuck(MemoryStore):
    """A store that is temporarily unable to store one session."""

    def append(self, events: Iterable[Event]) -> Any:
        batch = list(events)
        if any(event.session_id == "crashed" for event in batch):
            raise StoreUnavailable("not that one, now")
        return super().append(batch)


def test_a_recorder_does_not_wait_for_anothers_recovery(tmp_path: Path) -> None:
    """Break: in eventstore/recording/writer.py, ``_work``, retry the recovery first."""
    leave_behind(tmp_path, frames.encode(Event("crashed", "o", 0, "on_eou_start", 1, 1, 1, "{}")))
    store = Stuck()
    with Recorder(store, "s", journal=tmp_path) as recorder:
        recorder.on_eou_start()
        assert recorder.flush(30)
    assert seqs(store) == [0]
    assert len(list(tmp_path.iterdir())) == 1


# a process that is killed while it sets aside ------------------------------------------------------------------------

KILLED = """
import os, sys, threading
from test_recovery import Picky
from turnlog import Recorder
recorder = Recorder(Picky(*(("s", n) for n in range(0, 10_000, 2))), "s", origin="o", journal=sys.argv[1])
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), 9)).start()
for n in range(10_000):
    recorder.on_eou_start()
    os.write(1, b"%d\\n" % n)
"""


def test_killed_while_it_sets_aside(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, tmp_path, "0.3"]
    path = f"{Path(__file__).parent}:{TESTS}:{os.environ.get('PYTHONPATH', '')}"
    here = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=here, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    last = int((done.stdout.rsplit(b"\n", 1)[0] or b"-1").rsplit(b"\n")[-1])
    store = MemoryStore()
    recover(store, tmp_path)
    # what the killed process had stored went with its memory; what it had set aside has not
    found = seqs(store)
    assert [n for n in range(0, last + 1, 2) if n not in found] == []
