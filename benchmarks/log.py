"""Benchmarks of the event log: one function per family of rows.

The sides alternate, round by round, and the best round of each counts.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from math import inf
from random import Random
from statistics import median, quantiles
from uuid import UUID

from eventsourcing.persistence import StoredEvent

import processes
from calls import events, fill, fill_session
from databases import MILLION, Database
from eventstore import Event, Store, open_store
from projections.caller import RULES as TURNLOG
from projections.reference.rules import VIDEOSDK_1_0
from rows import Row, comparison_row, plain_row, with_bound

ROUNDS = 5
READ_ROUNDS = 3
BATCHES = {1: 100, 10: 100, 100: 50, 1000: 20}
"""Number of batches of each size that a side appends per round."""
TURNS = 3
SIZED = 100_000
FOLLOWED = 200
LONG = 10_000
"""Events of a long session, and of one four times as long."""
FULL_SESSIONS = 530
"""Number of sessions (100,000 events) with all outputs; bounded because the reference is slow."""


def append(database: Database) -> Iterator[Row]:
    """Appending in batches, each a durable transaction, compared with the bare driver and with `eventsourcing`."""
    best = _append_seconds(database)
    for size, batches in BATCHES.items():
        rate = {side: size * batches / spent / 1000 for (side, of), spent in best.items() if of == size}
        goals = database.at_least if size == max(BATCHES) else {}
        for side, peer in (
            ("raw", f"{database.raw_way(size)} of ready rows"),
            ("followable", "eventsourcing, ApplicationRecorder"),
            ("plain", "eventsourcing, AggregateRecorder, not followable"),
        ):
            if side != "plain" or goals:
                work = f"append to {database.name}, {size:,} a batch"
                yield comparison_row(work, rate["turnlog"], peer, rate[side], "k/s", at_least=goals.get(side))


def _append_seconds(database: Database) -> dict[tuple[str, int], float]:
    turns = [(size, size * batches) for size, batches in BATCHES.items() for _ in range(TURNS)]
    chosen = events(sum(count for _size, count in turns))
    theirs = _stored_events(chosen)
    best: dict[tuple[str, int], float] = defaultdict(lambda: inf)
    random = Random(1)
    with database.fresh() as filled:
        fill(filled, len(chosen))
        ready = database.rows(filled)
        for _ in range(ROUNDS):
            with ExitStack() as stack, _settled():
                enter = stack.enter_context
                store = enter(closing(open_store(enter(database.fresh()), migrate=True)))
                sides = {
                    "turnlog": (store.append, chosen),
                    "raw": (enter(database.raw(enter(database.fresh()), filled)), ready),
                    "followable": (enter(database.library(enter(database.fresh()), followable=True)), theirs),
                    "plain": (enter(database.library(enter(database.fresh()), followable=False)), theirs),
                }
                at = 0
                for size, count in turns:
                    for side in random.sample(list(sides), len(sides)):
                        write, items = sides[side]
                        batches = [items[n : n + size] for n in range(at, at + count, size)]
                        start = time.perf_counter()
                        for batch in batches:
                            write(batch)
                        best[side, size] = min(best[side, size], time.perf_counter() - start)
                    at += count
    return best


def _stored_events(chosen: list[Event]) -> list[StoredEvent]:
    """Sessions as aggregates; the library stores no clocks of an event, which is to its advantage."""
    ids = {e.session_id: UUID(e.session_id) for e in chosen}
    return [StoredEvent(ids[e.session_id], e.seq, e.hook, e.payload.encode()) for e in chosen]


@contextmanager
def _settled() -> Iterator[None]:
    """Exclude existing objects from garbage collection during the measurement."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def read(database: Database) -> Iterator[Row]:
    """Reading a million events, session by session, compared with a scan of the table."""
    ours = raw = inf
    with closing(open_store(database.million)) as store:
        sessions = [session.session_id for session in store.sessions()]
        for _ in range(READ_ROUNDS):
            start = time.perf_counter()
            count = 0
            for _session, read in store.read_many(sessions):
                for _event in read:
                    count += 1
            ours = min(ours, time.perf_counter() - start)
            start = time.perf_counter()
            assert database.scan(database.million) == count == MILLION
            raw = min(raw, time.perf_counter() - start)
    work = f"read a million events from {database.name}"
    peer = "the driver's scan, as tuples"
    yield comparison_row(work, MILLION / ours / 1000, peer, MILLION / raw / 1000, "k/s", at_least=0.7)


def follow(database: Database) -> Iterator[Row]:
    """Milliseconds from a commit to a follower, for events that come one at a time."""
    with database.fresh() as url, closing(open_store(url, migrate=True)) as store:
        waits = _follow_ms(store)
    yield plain_row(f"follow {database.name}, from commit to follower, median", median(waits), "ms")
    yield plain_row(f"follow {database.name}, from commit to follower, p99", quantiles(waits, n=100)[98], "ms")


def _follow_ms(store: Store) -> list[float]:
    arrived, stop, seen = threading.Event(), threading.Event(), 0.0

    def look() -> None:
        nonlocal seen
        for _followed in store.follow(stop=stop):
            seen = time.perf_counter()
            arrived.set()

    follower = threading.Thread(target=look)
    follower.start()
    random, waits = Random(1), []
    for event in events(FOLLOWED + 1):
        store.append([event])
        committed = time.perf_counter()
        assert arrived.wait(10)
        arrived.clear()
        waits.append(max(0.0, seen - committed) * 1000)  # it may arrive before append returns
        time.sleep(random.uniform(0, 0.05))  # so that the next one comes at a random phase of the follower's polling
    stop.set()
    follower.join()
    return waits[1:]  # without the follower's startup


def replay(database: Database) -> Iterator[Row]:
    """Replays from SQLite, compared with the reference on the same rows."""
    for what, sessions, at_least, title in (
        ("full", FULL_SESSIONS, 6.5, "everything"),
        ("lean", MILLION, 2.0, "turns and payloads, a million events"),
    ):
        ours, theirs = [], []
        for _ in range(READ_ROUNDS):
            ours.append(processes.turnlog(what, database.million, sessions, VIDEOSDK_1_0.name))
            theirs.append(processes.reference(what, database.million, sessions))
        rates = [max(side["per_s"] for side in sides) / 1000 for sides in (ours, theirs)]
        yield comparison_row(f"replay, {title}", rates[0], f"reference, {title}", rates[1], "k/s", at_least=at_least)
        yield _callers(database, what, sessions, title)
    two = max(
        processes.turnlog("lean", database.million, MILLION, VIDEOSDK_1_0.name, 2)["per_s"] for _ in range(READ_ROUNDS)
    )
    work = "replay in two processes, turns and payloads, a million events"
    yield comparison_row(work, two / 1000, "reference, one process", rates[1], "k/s", at_least=3.0)
    peaks = [max(side["peak_mb"] for side in sides) for sides in (ours, theirs)]
    row = comparison_row("replay, peak memory of the million", peaks[0], "reference, peak memory", peaks[1], "MB")
    yield with_bound(row, peaks[0], 200, "MB")


def _callers(database: Database, what: str, sessions: int, title: str) -> Row:
    """The caller's reading compared with the framework's, round by round."""
    sides: tuple[list[float], list[float]] = ([], [])
    for _ in range(READ_ROUNDS):
        for rates, rules in zip(sides, (TURNLOG, VIDEOSDK_1_0.name), strict=True):
            rates.append(processes.turnlog(what, database.million, sessions, rules)["per_s"] / 1000)
    ours, theirs = map(max, sides)
    return comparison_row(f"replay turnlog, {title}", ours, f"videosdk-1.0, {title}", theirs, "k/s", at_least=0.8)


def long(database: Database) -> Iterator[Row]:
    """One long session: the cost of four times as many turns, and of one turn with a million events."""
    with database.fresh() as url:
        for name, count in (("once", LONG), ("four", 4 * LONG), ("million", MILLION)):
            fill_session(url, name, count)
        once = four = inf
        for _ in range(ROUNDS):
            once = min(once, processes.session(url, "once")["seconds"])
            four = min(four, processes.session(url, "four")["seconds"])
        yield comparison_row("turnlog, 4 × the turns of one session", four, "its turns", once, "s", at_most=5)
        for what, options in (("--turn", ("--turn", "20000")), ("--at", ("--at", "500000", "--turn", "1"))):
            seconds, _processor, peak_mb = processes.command("replay", "--db", url, "million", *options)
            work = f"turnlog replay {what} on a session of a million events"
            yield with_bound(plain_row(work, seconds, "s"), seconds, 20, "s")
            yield with_bound(plain_row(f"{work}, peak memory", peak_mb, "MB"), peak_mb, 400, "MB")


def size(database: Database) -> Iterator[Row]:
    """Bytes on disk, including indexes."""
    with database.fresh() as ours, database.fresh() as theirs:
        fill(ours, SIZED)
        stored = iter(_stored_events(events(SIZED)))
        with database.library(theirs, followable=True) as write:
            while batch := list(islice(stored, 1000)):
                write(batch)
        sizes = [database.size(url) / SIZED for url in (ours, theirs)]
    yield comparison_row(f"an event in {database.name}", sizes[0], "eventsourcing, without clocks", sizes[1], "bytes")
