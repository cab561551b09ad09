"""Building an archive: what is new in the log since the last build, written partition by partition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from itertools import islice
from multiprocessing import get_context
from typing import NamedTuple

from eventstore.integrity.session import link_at
from eventstore.stores.base import Session, Store
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.memory import MemoryStore
from exporters.archive.layout import BUCKETS, EVENTS, BadArchive, Entry, Partition
from exporters.archive.place import Place
from exporters.archive.read import PartitionFile
from exporters.archive.write import BrokenSession, Chains, write_partition

PARALLEL_EVENTS = 50_000
"""Fewer events are written by the process itself, as starting processes takes longer."""


class Task(NamedTuple):
    """A partition to write."""

    partition: Partition
    buckets: int
    sessions: dict[str, tuple[int, list[Origin]]]
    """The sessions to take from the log, with their start, each up to these heads; all others of the file are kept."""
    dropped: frozenset[str] = frozenset()
    """Sessions to leave out: they are in a different partition now."""

    @property
    def events(self) -> int:
        return sum(head.events for _started, heads in self.sessions.values() for head in heads)


class Plan(NamedTuple):
    """What a build has to do."""

    tasks: list[Task]
    moves: list[Task]
    """Tasks to run once the others are done: they drop sessions that belong to a different partition now."""
    new: int
    """Number of sessions."""
    grown: int
    unchanged: int
    diverged: dict[str, str]
    """Sessions of the log that do not continue those of the archive, with the reason; the archive keeps its own."""


class Written(NamedTuple):
    """The result of tasks."""

    partitions: int
    events: int
    """Number of events in the partitions that were written."""
    broken: dict[str, str]
    """Sessions of the log that do not verify, with the reason; they are left out."""

    def and_also(self, other: Written) -> Written:
        return Written(self.partitions + other.partitions, self.events + other.events, self.broken | other.broken)


def plan(store: Store, place: Place, sessions: Sequence[Session], buckets: int | None = None) -> Plan:
    """Compare the sessions with the archive. Raises `BadArchive` if the archive has a different number of buckets."""
    partitions = place.partitions()
    theirs = {session.session_id: session for session in sessions}
    archived: dict[str, tuple[Entry, Partition]] = {}
    for file in _files(place, partitions):
        if buckets not in (None, file.heading.buckets):
            raise BadArchive(f"{place.name} has {file.heading.buckets} buckets a day; leave --buckets out")
        buckets = file.heading.buckets
        archived.update((e.session_id, (e, file.partition)) for e in file.heading.sessions if e.session_id in theirs)
    found = Plan([], [], 0, 0, 0, {})
    return _compare(store, theirs, archived, buckets or BUCKETS, found)


def _compare(
    store: Store,
    sessions: dict[str, Session],
    archived: dict[str, tuple[Entry, Partition]],
    buckets: int,
    found: Plan,
) -> Plan:
    wanted: dict[Partition, dict[str, tuple[int, list[Origin]]]] = {}
    moved: dict[Partition, set[str]] = {}
    new = grown = unchanged = 0
    seals = {name: head.seal for name, head in store.heads().items()}
    for name, session in sessions.items():
        entry, place = archived.get(name, (None, None))
        if entry is not None and entry.seal == seals.get(name):
            unchanged += 1
            continue
        heads = [origin for origin, _stored in store.chains(name)]
        target = Partition.of(name, session.started_ns, buckets)
        if entry is not None and (reason := _divergence(store, entry, heads)):
            found.diverged[name] = reason
            continue
        new, grown = new + (entry is None), grown + (entry is not None)
        wanted.setdefault(target, {})[name] = session.started_ns, heads
        if place not in (None, target):
            moved.setdefault(place, set()).add(name)
    tasks = [Task(at, buckets, names) for at, names in sorted(wanted.items())]
    moves = [Task(at, buckets, {}, frozenset(names)) for at, names in sorted(moved.items())]
    return found._replace(tasks=tasks, moves=moves, new=new, grown=grown, unchanged=unchanged)


def _divergence(store: Store, entry: Entry, heads: list[Origin]) -> str | None:
    """Why the log's session is not the archived one with more events; None if it is."""
    now = {head.origin: head for head in heads}
    for old in entry.heads():
        head = now.get(old.origin)
        if head is None or head.events < old.events:
            return f"the archive has {old.events} events of origin {old.origin!r}, the log {head.events if head else 0}"
        at = head.link if head.events == old.events else link_at(store, entry.session_id, old.origin, old.events)
        if at != old.link:
            return f"origin {old.origin!r} was rebuilt since it was archived"
    return None


def build(
    store: Store,
    place: Place,
    planned: Plan,
    jobs: int = 1,
    advance: Callable[[int], object] = lambda events: None,
) -> Written:
    """Write the planned partitions, in parallel if there are ``jobs`` and enough to do.

    ``advance`` is called with the number of events written since its last call. Raises `BadArchive` if what the
    archive has of a partition does not verify; the others are written before.
    """
    total = sum(task.events for task in planned.tasks)
    done = Written(0, 0, {})
    if store.reopen is None or jobs == 1 or len(planned.tasks) == 1 or total < PARALLEL_EVENTS:
        for task in planned.tasks:
            done = done.and_also(run(store, place, task, advance))
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn"), _open_log, (store.reopen,)) as pool:
            waiting = {pool.submit(_run, place, task): task for task in planned.tasks}
            for future in as_completed(waiting):
                done = done.and_also(future.result())
                advance(waiting[future].events)
    for task in planned.moves:
        done = done.and_also(run(store, place, task._replace(dropped=task.dropped - done.broken.keys())))
    return done


_log: list[Store] = []
"""The log, in a worker process."""


def _open_log(reopen: Callable[[], Store]) -> None:
    _log.append(reopen())


def _run(place: Place, task: Task) -> Written:
    return run(_log[0], place, task)


def run(store: Store, place: Place, task: Task, advance: Callable[[int], object] = lambda events: None) -> Written:
    """Write the task's partition. Raises `BadArchive` if what the archive has of it does not verify."""
    broken: dict[str, str] = {}
    path = task.partition.path(EVENTS)
    old = PartitionFile(place, task.partition) if place.exists(path) else None
    try:
        entries = [] if old is None else old.heading.sessions
        kept = {entry.session_id: entry.started_ns for entry in entries if entry.session_id not in task.dropped}
        while True:
            taken = task.sessions.keys() - broken
            starts = kept | {name: task.sessions[name][0] for name in taken}
            if not (order := sorted((started, name) for name, started in starts.items())):
                if old is not None:
                    place.remove(path)
                return Written(0, 0, broken)
            if not taken and not task.dropped:
                return Written(0, 0, broken)
            sources = ((*each, _source(store, task, old, each[1], taken)) for each in order)
            try:
                with place.write(path) as file:
                    heading = write_partition(file, task.partition, task.buckets, sources, advance)
            except BrokenSession as error:
                broken[error.session_id] = str(error)
                continue
            return Written(1, heading.events, broken)
    finally:
        if old is not None:
            old.close()


def _source(store: Store, task: Task, old: PartitionFile | None, name: str, taken: Iterable[str]) -> Chains:
    if name in taken:
        return _up_to(store, name, task.sessions[name][1])
    assert old is not None, "a session is in the log or in the archive"
    return old.chains(name)


def _up_to(store: Store, name: str, heads: list[Origin]) -> Iterator[tuple[Origin, Iterator[Linked]]]:
    """The session's chains as they were when the plan was made; it may have grown since."""
    planned = {head.origin: head for head in heads}
    for origin, stored in store.chains(name):
        if (head := planned.pop(origin.origin, None)) is not None:
            yield head, islice(stored, head.events)
    if planned:
        raise BrokenSession(name)


def remove(place: Place, session_id: str) -> int:
    """Erase a session from the archive, and all that is derived of its partition; returns the number of its events.

    What is derived is made again when it is needed.
    """
    events = 0
    for file in _files(place, place.partitions()):
        entry = file.entry(session_id)
        if entry is not None:
            for path in place.derived(file.partition):
                place.remove(path)
            nothing = Task(file.partition, file.heading.buckets, {}, frozenset([session_id]))
            run(MemoryStore(), place, nothing)
            events += entry.events
    return events


def _files(place: Place, partitions: Iterable[Partition]) -> Iterator[PartitionFile]:
    for partition in partitions:
        with closing(PartitionFile(place, partition)) as file:
            yield file
