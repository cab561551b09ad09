"""An archive has what the log has: events, order, links, times; whatever the log had when it was built before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, Store
from eventstore.errors import StoreError, StoreReadOnly, StoreUnavailable
from eventstore.stores.memory import MemoryStore
from exporters.archive import write
from exporters.archive.build import build, plan, remove
from exporters.archive.layout import METADATA, BadArchive, Heading, Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile
from exporters.archive.restore import check_partition, stream_partition
from exporters.archive.store import ArchiveStore
from exporters.archive.verify import verify
from support.archives import archived, chains_of, files_of
from support.events import event
from support.examples import examples
from support.recorded import RECORDED
from support.strategies import sessions

DAY_NS = 86_400 * 10**9


def faults_of(url: str | Path) -> list[str]:
    place = Place(str(url))
    return [fault.message for fault in verify(place, place.partitions())]


def restored(url: str | Path) -> Store:
    """A store with what the archive has; the events are admitted as those that the log had before."""
    store, place = MemoryStore(), Place(str(url))
    for partition in place.partitions():
        seals = {entry.seal for entry in PartitionFile(place, partition).heading.sessions}
        check_partition(place, partition, seals)
        store.append(item for item in stream_partition(place, partition, seals) if isinstance(item, Event))
    return store


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """The events of several sessions, in the order in which they reach the log."""
    names = draw(st.lists(st.sampled_from(["s-1", "s/2", "मौसम", "x" * 200]), min_size=1, max_size=3, unique=True))
    events = [event for name in names for event in draw(sessions(name))]
    return draw(st.permutations(events)) if draw(st.booleans()) else events


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(logs(), st.integers(1, 7), st.integers(1, 3))
def test_an_archive_is_the_log(events: list[Event], group: int, buckets: int) -> None:
    """Break: in exporters/archive/read.py, ``_in_order``, return ``stored`` alone."""
    log = MemoryStore()
    log.append(events)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "GROUP_EVENTS", group)
        archived(log, folder, buckets)
        if not events:
            return
        store = ArchiveStore(folder)
        assert store.sessions() == log.sessions()
        assert chains_of(store) == chains_of(log)
        for session in log.sessions():
            assert list(ArchiveStore(folder).read(session.session_id)) == list(log.read(session.session_id))
        assert faults_of(folder) == []
        assert chains_of(restored(folder)) == chains_of(log)


@pytest.mark.slow
@settings(max_examples=examples(20))
@given(logs(), st.data())
def test_built_in_steps_is_built_at_once(events: list[Event], data: st.DataObject) -> None:
    """To the byte. Break: in exporters/archive/build.py, ``_compare``, forget ``moved``."""
    at = data.draw(st.integers(0, len(events)))
    log = MemoryStore()
    with tempfile.TemporaryDirectory() as steps, tempfile.TemporaryDirectory() as once:
        log.append(events[:at])
        archived(log, steps, 2)
        log.append(events[at:])
        archived(log, steps, 2)
        archived(log, once, 2)
        assert files_of(Path(steps)) == files_of(Path(once))


def log_of(*names: str, wall_ns: int = 10**18, events: int = 3) -> MemoryStore:
    store = MemoryStore()
    store.append(event(n, session=name, wall_ns=wall_ns) for name in names for n in range(events))
    return store


def test_a_second_build_writes_what_is_new_or_has_grown(tmp_path: Path) -> None:
    """Break: in exporters/archive/build.py, ``_compare``, take each session as new."""
    log = log_of("old")
    archived(log, tmp_path, 1)
    log.append(event(n, session="later", wall_ns=10**18 + DAY_NS) for n in range(2))
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*.parquet")}
    planned = archived(log, tmp_path)
    assert (planned.new, planned.grown, planned.unchanged, len(planned.tasks)) == (1, 0, 1, 1)
    assert {path: path.stat().st_ino for path in before} == before
    log.append([event(3, session="old")])
    planned = archived(log, tmp_path)
    assert (planned.new, planned.grown, planned.unchanged, len(planned.tasks)) == (0, 1, 1, 1)
    assert chains_of(ArchiveStore(str(tmp_path))) == chains_of(log)


def test_sessions_that_the_log_no_longer_has_are_kept(tmp_path: Path) -> None:
    """Break: in exporters/archive/build.py, ``run``, keep nothing."""
    archived(log_of("gone", "other"), tmp_path, 1)
    archived(log_of("new"), tmp_path)
    assert {session.session_id for session in ArchiveStore(str(tmp_path)).sessions()} == {"gone", "new", "other"}


def test_a_session_that_started_earlier_than_was_known_moves(tmp_path: Path) -> None:
    """Break: in exporters/archive/build.py, ``plan``, drop nothing."""
    log = log_of("s", "stays", wall_ns=10**18)
    archived(log, tmp_path, 1)
    log.append([event(0, session="s", origin="a", wall_ns=10**18 - DAY_NS)])
    archived(log, tmp_path)
    found = ArchiveStore(str(tmp_path))
    assert chains_of(found) == chains_of(log)
    assert len(found.partitions) == 2
    assert faults_of(tmp_path) == []


def test_a_session_that_is_in_two_files_is_read_once_and_reported(tmp_path: Path) -> None:
    """As a build that is killed while it moves one leaves it. Break: in verify.py, do not look into ``seen``."""
    log = log_of("s")
    archived(log, tmp_path, 1)
    log.append([event(0, session="s", origin="a", wall_ns=10**18 - DAY_NS)])
    place = Place(str(tmp_path))
    planned = plan(log, place, log.sessions())
    build(log, place, planned._replace(moves=[]))
    found = ArchiveStore(str(tmp_path))
    assert found.sessions() == log.sessions()
    assert chains_of(found) == chains_of(log)
    (fault,) = faults_of(tmp_path)
    assert "it is in " in fault
    archived(log, tmp_path)
    log.append([event(3, session="s")])
    archived(log, tmp_path)
    assert faults_of(tmp_path) == []


def test_a_session_that_is_not_the_archived_one_is_refused(tmp_path: Path) -> None:
    """Break: in exporters/archive/build.py, ``_divergence``, return None."""
    log = log_of("s", events=3)
    archived(log, tmp_path, 1)
    shorter, other = log_of("s", events=2), log_of("s", wall_ns=10**18 + 5, events=4)
    for wrong, reason in ((shorter, "the archive has 3 events"), (other, "was rebuilt")):
        planned = archived(wrong, tmp_path)
        assert reason in planned.diverged["s"]
    assert chains_of(ArchiveStore(str(tmp_path))) == chains_of(log)


@pytest.mark.parametrize("changed", ["event", "link"])
def test_a_session_of_the_log_that_does_not_verify_is_left_out(tmp_path: Path, changed: str) -> None:
    """Break: in exporters/archive/write.py, ``_verified``, compare nothing."""
    log = log_of("bad", "good")
    linked = log._log[1]
    assert linked is not None
    other = {"event": msgspec.structs.replace(linked.event, perf_ns=7), "link": b"x" * 32}[changed]
    log._log[1] = linked._replace(**{changed: other})
    place = Place(str(tmp_path))
    done = build(log, place, plan(log, place, log.sessions(), 1))
    assert list(done.broken) == ["bad"]
    assert [session.session_id for session in ArchiveStore(str(tmp_path)).sessions()] == ["good"]


def test_the_number_of_buckets_stays(tmp_path: Path) -> None:
    log = log_of("s")
    archived(log, tmp_path, 3)
    with pytest.raises(BadArchive, match="has 3 buckets a day"):
        archived(log, tmp_path, 4)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        archived(log_of("s"), tmp_path / "a" / "b", 1)
    finally:
        os.umask(before)
    for path in (tmp_path / "a").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_one_build_at_a_time(tmp_path: Path) -> None:
    """Break: in exporters/archive/place.py, ``exclusive``, lock nothing."""
    first, second = Place(str(tmp_path)), Place(str(tmp_path))
    with first.exclusive(), pytest.raises(StoreUnavailable, match="another process writes"), second.exclusive():
        pass
    with second.exclusive():
        pass


def test_a_session_is_erased_with_what_is_derived_from_it(tmp_path: Path) -> None:
    log = log_of("s", "t")
    archived(log, tmp_path, 1)
    (partition,) = Place(str(tmp_path)).partitions()
    derived = tmp_path / partition.path("turns/rules=turnlog")
    derived.parent.mkdir(parents=True)
    derived.write_bytes(b"its words")
    assert remove(Place(str(tmp_path)), "s") == 3
    assert not derived.exists()
    assert [session.session_id for session in ArchiveStore(str(tmp_path)).sessions()] == ["t"]
    remove(Place(str(tmp_path)), "t")
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_archive_is_read_only_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no archive at"):
        ArchiveStore(str(tmp_path))
    archived(log_of("s"), tmp_path)
    store = ArchiveStore(str(tmp_path))
    with pytest.raises(StoreReadOnly):
        store.append([event(9)])
    with pytest.raises(StoreReadOnly):
        store.follow()
    assert list(store.read("unknown")) == []
    assert list(store.chains("unknown")) == []


def test_what_a_file_says_of_its_sessions(tmp_path: Path) -> None:
    log = MemoryStore()
    for events in RECORDED.values():
        log.append(events)
    archived(log, tmp_path, 4)
    for path in tmp_path.rglob("*.parquet"):
        metadata = pyarrow.parquet.read_metadata(path)
        heading = msgspec.json.decode(metadata.metadata[METADATA], type=Heading)
        assert str(path.relative_to(tmp_path)) == heading.partition.path("events")
        for entry in heading.sessions:
            day = datetime.fromtimestamp(entry.started_ns / 1e9, UTC).date().isoformat()
            assert Partition.of(entry.session_id, entry.started_ns, 4) == (day, heading.bucket)
            assert entry.events == len(RECORDED[entry.session_id])


PEAK = """
import sys, tempfile, tracemalloc
from collections import deque
from eventstore import Event
from eventstore.stores.chain import Linked, Origin, genesis, link
from exporters.archive.layout import Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile
from exporters.archive.write import write_partition

def events(count):
    return (Event("s", "o", n, "on_stt_complete", 1, n, n, '{"transcript":"%d words"}' % n) for n in range(count))

def linked(count):
    last = genesis("s", "o")
    for event in events(count):
        last = link(last, event)
        yield Linked(event, last)

def round_trip(count):
    ((_event, head),) = deque(linked(count), 1)
    place, partition = Place(tempfile.mkdtemp(dir=sys.argv[2])), Partition("1970-01-01", 0)
    with place.write(partition.path("events")) as file:
        write_partition(file, partition, 1, [(0, "s", [(Origin("s", "o", count, head), linked(count))])])
    return sum(1 for _event in PartitionFile(place, partition).read("s"))

round_trip(10)  # what is loaded and cached only once
tracemalloc.start()
assert round_trip(int(sys.argv[1])) == int(sys.argv[1])
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_session(tmp_path: Path) -> None:
    """Break: in exporters/archive/write.py, ``RowGroups.add``, never flush; or read all row groups at once."""
    peaks = []
    for events in (2 * write.GROUP_EVENTS, 8 * write.GROUP_EVENTS):
        command = [sys.executable, "-c", PEAK, str(events), str(tmp_path)]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.5 * peaks[0]
