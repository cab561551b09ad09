"""A full disk, under the journal, the database, both, and an archive; then there is room again."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore import open_store, recover
from eventstore.integrity.session import verify
from soak.children import FORKING, Acknowledgements, acknowledged
from soak.figures import Advance, Figures
from soak.operations import numbers, said
from soak.places import KEY, MARKER, Place, Places
from turnlog import Recorder

SIZE = 16 << 20
CALLS, PADDING = 6000, 500
LIMIT = 2 << 20
"""Of the journal, less than what is recorded: where nothing is stored, the bound is reached and drops are counted."""


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mounts a file system of `SIZE` bytes; says False where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def agent(database: str, journal: Path, small: Path, limited: bool, path: Path) -> None:
    """Fills the small disk, records on, makes room, records on, and closes; says what became of it."""
    acks = Acknowledgements(path)
    store = open_store(database, master_key=KEY)
    ballast = small / "ballast"
    recorder = Recorder(store, "s", origin="o", journal=journal, journal_limit_bytes=LIMIT)
    for n in range(20):
        recorder.set_user_transcript(f"{MARKER} {n}")
    if not recorder.flush(60):
        raise SystemExit(f"nothing can be stored: {recorder.health}")
    if limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, resource.RLIM_INFINITY))
    else:
        _fill(ballast)
    for n in range(20, CALLS):
        recorder.set_user_transcript(f"{MARKER}{'x' * PADDING} {n}")
    full = recorder.health
    if limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        ballast.unlink()
    recorder.flush(120)
    for n in range(CALLS, CALLS + 20):
        recorder.set_user_transcript(f"{MARKER} {n}")
    closed = recorder.close(120)
    health = recorder.health
    acks.write(
        json.dumps(
            {
                "closed": closed,
                "dropped": health.dropped,
                "failed": health.failed,
                "rejected": health.rejected,
                "unjournaled": health.unjournaled,
                "error": full.last_error,
            }
        )
    )
    store.close()


def _fill(ballast: Path) -> None:
    """All the room there is, but for a page."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def disk(places: Places, advance: Advance) -> list[Figures]:
    rows = []
    for what in ("journal", "database", "both"):
        figures = Figures(f"disk full under the {what}" if what != "both" else "disk full under both", "calls")
        place = places.new("sqlite")
        small = place.folder / "small"
        with small_disk(small) as mounted:
            database = (small if what != "journal" else place.folder) / "calls.db"
            journal = (small if what != "database" else place.folder) / "calls.db.journal"
            path = places.acknowledgements / f"disk-{what}"
            process = FORKING.Process(target=agent, args=(str(database), journal, small, not mounted, path))
            process.start()
            process.join()
            if process.exitcode != 0 or not acknowledged(path):
                figures.fail(f"the agent ended with {process.exitcode}")
            else:
                _check(figures, database, journal, json.loads(acknowledged(path)[-1]))
            figures.notes.append(f"{SIZE >> 20} MiB tmpfs" if mounted else "RLIMIT_FSIZE")
        places.remove(place)
        rows.append(figures)
        advance(1)
    rows.append(_archive(places))
    advance(2)
    return rows


def _check(figures: Figures, database: Path, journal: Path, report: dict[str, object]) -> None:
    store = open_store(database, master_key=KEY)
    recover(store, journal)
    have = numbers(store, "s").get("o", [])
    figures.tried, dropped = CALLS + 20, int(str(report["dropped"]))
    figures.survived = figures.tried if len(set(have)) + dropped == figures.tried else len(have)
    figures.lost = figures.tried - dropped - len(have)
    figures.notes.append(f"{dropped:,} dropped and counted, {report['unjournaled']} for a while in memory only")
    if figures.lost:
        figures.fail(f"{len(have)} stored and {dropped} counted as dropped of {figures.tried}: {report}")
    if len(have) != len(set(have)) or have != sorted(have):
        figures.fail("calls are there twice or in another order")
    if report["failed"] or report["rejected"] or report["closed"] != (dropped == 0):
        figures.fail(f"the recorder says {report}")
    faults = [fault for fault in verify(store, "s") if not (dropped and fault.kind == "missing")]
    for fault in faults:
        figures.fail(fault.message)
    store.close()
    with sqlite3.connect(database) as connection:
        if (found := connection.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            figures.fail(f"integrity_check: {found}")
    connection.close()
    if left := [path.name for path in journal.glob("*.journal")]:
        figures.leak(len(left), f"journal files {left}")
    for path in [*journal.glob("*"), *database.parent.glob("calls.db*")]:
        if path.is_file() and MARKER.encode() in path.read_bytes():
            figures.leak(1, f"plaintext in {path.name}")


def _archive(places: Places) -> Figures:
    """A session that does not fit stays in the log, and nothing half-written stays beside it."""
    from turnlog.archive.retention import retire

    figures = Figures("disk full under the archive", "sessions", tried=1)
    place: Place = places.new("sqlite")
    store, small = place.open(), place.folder / "small"
    store.append(said("s", n) for n in range(3000))
    with small_disk(small) as mounted:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if mounted:
            _fill(small / "ballast")
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 10, limits[1]))
        try:
            list(retire(store, store.sessions(), small / "archive"))
            figures.fail("it was archived on a full disk")
        except OSError as error:
            figures.notes.append(f"{error.strerror}; the session stays")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if left := list((small / "archive").glob("*")):
            figures.leak(len(left), f"{[path.name for path in left]}")
    figures.survived = int(len(numbers(store, "s")["o"]) == 3000 and not store.ledger.tombstones())
    if not figures.survived:
        figures.lose(1, "the session that could not be archived")
    store.close()
    places.remove(place)
    return figures
