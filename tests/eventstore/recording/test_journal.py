"""The journal's bytes: torn, damaged, full, foreign, too many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

from eventstore import Event, Recorder, open_store, recover
from eventstore.recording import frames
from eventstore.recording.backlog import Backlog, Pending
from eventstore.recording.journal import SUFFIX, Segment, left_behind
from eventstore.stores.memory import MemoryStore
from support.journals import body, frame, leave_behind
from support.strategies import streams


@given(streams())
def test_a_frame_becomes_the_event_again(events: list[Event]) -> None:
    data = b"".join(frames.frame(body(event)) for event in events)
    assert list(map(frames.decode, frames.bodies(data))) == events


def test_a_journal_torn_at_any_byte_of_its_last_record_keeps_the_others(tmp_path: Path) -> None:
    """Break: in eventstore/recording/frames.py, ``bodies``, drop the comparison of checksums."""
    whole, last = frame(0) + frame(1), frame(2)
    for cut in range(len(last)):
        path = leave_behind(tmp_path, whole + last[:cut])
        ((_path, found),) = left_behind(tmp_path)
        assert [event.seq for event in found.events] == [0, 1], cut
        path.unlink()


def test_a_journal_damaged_at_any_byte_of_its_last_record_keeps_the_others(tmp_path: Path) -> None:
    whole, last = frame(0) + frame(1), frame(2)
    for at in range(len(last)):
        damaged = bytearray(last)
        damaged[at] ^= 0xFF
        path = leave_behind(tmp_path, whole + damaged)
        ((_path, found),) = left_behind(tmp_path)
        assert [event.seq for event in found.events][:2] == [0, 1], at
        assert (len(found.events) == 3) == (at < 4), "its length can be found again"
        assert found.damage or found.torn
        path.unlink()


def test_what_was_acknowledged_is_not_recovered_again_but_a_torn_mark_only_repeats(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 1 << 16)
    segment.write(frame(0))
    segment.take(1 << 16)
    segment.acknowledge()
    segment.write(frame(1))
    segment.close(remove=False)
    ((path, found),) = left_behind(tmp_path)
    assert [event.seq for event in found.events] == [1]
    data = bytearray(path.read_bytes())
    data[8:16] = b"\xff" * 8
    path.write_bytes(data)
    ((_path, found),) = left_behind(tmp_path)
    assert [event.seq for event in found.events] == [0, 1]


def test_the_journal_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    segment = Segment(tmp_path, 1 << 16)
    segment.write(frame(0))
    assert list(left_behind(tmp_path)) == []
    segment.close(remove=False)
    assert len(list(left_behind(tmp_path))) == 1


def test_a_foreign_file_is_reported_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"holiday{SUFFIX}").write_text("dear diary")
    store = MemoryStore()
    assert recover(store, tmp_path) == 0
    assert "not a journal of this turnlog's format" in caplog.text
    assert (tmp_path / f"holiday{SUFFIX}").exists()


def test_what_cannot_be_opened_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"0{SUFFIX}").mkdir()
    leave_behind(tmp_path, frame(0))
    store = MemoryStore()
    assert recover(store, tmp_path) == 1
    assert "cannot recover" in caplog.text


def test_recovering_twice_is_harmless(tmp_path: Path) -> None:
    leave_behind(tmp_path, frame(0) + frame(1))
    store = MemoryStore()
    assert recover(store, tmp_path) == 2
    assert recover(store, tmp_path) == 0
    assert len(list(store.read("s"))) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_segment_takes_nothing_more(tmp_path: Path) -> None:
    """Break: in eventstore/recording/journal.py, ``seal``, write nothing."""
    segment = Segment(tmp_path, 1 << 12)
    segment.write(frame(0))
    segment.seal()
    with pytest.raises(ValueError, match="out of range"):
        segment.write(b"x")
    assert [event.seq for event in segment.take(1 << 20)] == [0]
    assert segment.take(1 << 20) == []
    segment.acknowledge()
    assert segment.acknowledged == segment.end == segment.size
    segment.close(remove=True)


def test_rotation_keeps_everything_in_order(tmp_path: Path) -> None:
    backlog = Backlog(tmp_path, segment_bytes=256, limit_bytes=1 << 20)
    for seq in range(100):
        try:
            backlog.write(frame(seq))
        except ValueError:
            backlog.append_slow(frame(seq))
    backlog.append_slow(frame(100, '{"text":"' + "m" * 3000 + '"}'))  # larger than a segment
    taken = []
    while batch := backlog.take():
        taken += [event.seq for event in batch]
        backlog.acknowledge()
        backlog.prepare_spare()
    assert taken == list(range(101))
    backlog.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reserve", [True, False], ids=["with a reserve", "reserve used up"])
def test_signals_that_keep_interrupting_the_creation_of_a_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: bool
) -> None:
    """Each signal's handler calls a hook, which needs a segment too. Nothing is lost, and the stack does not fill.

    Break: in eventstore/recording/backlog.py, ``_next_segment``, create a segment while creating one.
    """
    backlog = Backlog(tmp_path, segment_bytes=256, limit_bytes=1 << 20)
    if reserve:
        backlog.prepare_spare()
    seqs, signals = iter(range(1000)), iter(range(200))

    class Interrupted(Segment):
        def __init__(self, folder: Path, size: int, *, durable: bool = False) -> None:
            if next(signals, None) is not None:
                hook()
            super().__init__(folder, size, durable=durable)

    def hook() -> None:
        backlog.append_slow(frame(next(seqs)))

    monkeypatch.setattr("eventstore.recording.backlog.Segment", Interrupted)
    for _ in range(100):
        hook()
    made = next(seqs)
    taken = []
    while batch := backlog.take():
        taken += [event.seq for event in batch]
        backlog.acknowledge()
    assert sorted(taken) == list(range(made))
    assert made > 100
    backlog.close()


def test_at_its_bound_the_journal_keeps_the_newest_and_counts(tmp_path: Path) -> None:
    """Break: in eventstore/recording/backlog.py, ``_activate``, drop nothing; or count nothing."""
    backlog = Backlog(tmp_path, segment_bytes=512, limit_bytes=2048)
    for seq in range(200):
        backlog.append_slow(frame(seq))
    kept = [event.seq for event in backlog.pending_events(("s", "o"))]
    assert kept == list(range(200 - len(kept), 200))
    assert backlog.dropped == 200 - len(kept) > 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2048
    assert "at its limit" in str(backlog.last_error)
    backlog.close()


def test_memory_at_its_bound_keeps_the_newest_and_counts() -> None:
    store = MemoryStore()
    with Recorder(store, durability="memory", journal_limit_bytes=512 * 10) as recorder:
        with recorder._writer.backlog.lock:  # the writer cannot take any
            for _ in range(50):
                recorder.on_eou_start()
        recorder.flush()
    found = list(store.read(recorder.session_id))
    assert [event.seq for event in found][-10:] == list(range(40, 50))
    assert recorder.health.dropped == 50 - len(found)


def test_an_overtaken_call_is_not_a_lost_one() -> None:
    backlog = Backlog(None, segment_bytes=0, limit_bytes=1 << 20)
    for seq in (1, 0, 3, 2):
        backlog.memory.append(Pending(("s", "o"), "on_eou_start", seq, 1, 1))
    assert [event.seq for event in backlog.take()] == [1, 0, 3, 2]
    assert (backlog.dropped, backlog.last_error) == (0, None)


FULL = """
import resource, sys
from eventstore import Recorder, open_store
store = open_store(sys.argv[1])
store.sessions()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
recorder = Recorder(store, "s", journal=sys.argv[2])
for n in range(3000):
    recorder.set_llm_input("x" * 400)
full = recorder.health
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert recorder.close(30), recorder.health
print(full.unjournaled, recorder.health.dropped, recorder.health.failed, store.sessions()[0].events)
store.close()
"""


@pytest.mark.parametrize("room", [4096, 1 << 20])
def test_a_full_disk_is_counted_and_hurts_nobody(tmp_path: Path, room: int) -> None:
    """No file may grow beyond ``room``: not the journal, and not the database. No SIGBUS, no exception, no loss."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "calls.db", tmp_path / "journal", str(room)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unjournaled, dropped, failed, stored = map(int, done.stdout.split())
    assert (dropped, failed, stored) == (0, 0, 3000)
    assert (unjournaled > 0) == (room == 4096)


def test_a_journal_that_cannot_be_made_is_said_and_calls_go_on(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    store = MemoryStore()
    with Recorder(store, "s", journal=tmp_path / "journal") as recorder:
        recorder.on_eou_start()
        recorder.on_eou_complete()
    assert len(list(store.read("s"))) == 2
    assert recorder.health.unjournaled == 2
    assert "calls are kept in memory" in str(recorder.health.last_error)


def test_journals_are_private(tmp_path: Path) -> None:
    store = open_store(tmp_path / "calls.db")
    with Recorder(store, "s") as recorder:
        recorder.on_eou_start()
        folder = tmp_path / "calls.db.journal"
        assert folder.stat().st_mode & 0o077 == 0
        assert recorder.flush()  # the writer has created its spare segments before
        assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert list(folder.iterdir()) == []
    store.close()
