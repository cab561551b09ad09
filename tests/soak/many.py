"""Many sessions in many processes at once, two of which are killed in the middle."""

from __future__ import annotations

from pathlib import Path

from eventstore import recover
from eventstore.integrity.session import verify
from soak.children import FORKING, Acknowledgements, acknowledged
from soak.figures import Advance, Figures
from soak.operations import numbers
from soak.places import MARKER, Place, Places
from turnlog import Recorder

PROCESSES, SESSIONS, KILLED = 8, 64, 2


def agent(place: Place, origin: str, calls: int, path: Path) -> None:
    """Every session is recorded by every process."""
    acks, store = Acknowledgements(path), place.open()
    recorders = [Recorder(store, f"s{n}", origin=origin, journal=place.journal) for n in range(SESSIONS)]
    for n in range(calls):
        for recorder in recorders:
            recorder.set_user_transcript(f"{MARKER} {n}")
        acks.write(n)
    whole = all(recorder.close(120) for recorder in recorders)
    store.close()
    if not whole:
        raise SystemExit(f"not all is stored: {recorders[0].health}")


def many(places: Places, calls: int, advance: Advance) -> list[Figures]:
    rows = []
    for backend in places.backends:
        figures = Figures(f"{SESSIONS} sessions × {PROCESSES} processes, {backend}", "calls")
        place = places.new(backend)
        place.open().close()
        paths = {f"process-{n}": places.acknowledgements / f"many-{backend}-{n}" for n in range(PROCESSES)}
        agents = [FORKING.Process(target=agent, args=(place, *of[:1], calls, of[1])) for of in paths.items()]
        for process in agents:
            process.start()
        for path, process in list(zip(paths.values(), agents, strict=True))[:KILLED]:
            while len(acknowledged(path)) < calls // 2 and process.is_alive():
                process.join(0.002)
            process.kill()
        for process in agents:
            process.join()
        killed = sum(process.exitcode == -9 for process in agents)
        figures.notes.append(f"{killed} processes killed in the middle")
        if failed := [process.exitcode for process in agents if process.exitcode not in (0, -9)]:
            figures.fail(f"processes ended with {failed}")
        _check(figures, place, paths)
        places.remove(place)
        rows.append(figures)
        advance(1)
    return rows


def _check(figures: Figures, place: Place, paths: dict[str, Path]) -> None:
    store = place.open()
    recover(store, place.journal)
    for n in range(SESSIONS):
        found = numbers(store, f"s{n}")
        for origin, path in paths.items():
            rounds, have = len(acknowledged(path)), found.get(origin, [])
            figures.tried += rounds
            figures.survived += len(set(range(rounds)).intersection(have))
            if have != list(range(len(have))) or not rounds <= len(have) <= rounds + 1:
                figures.lose(max(1, rounds - len(have)), f"calls of s{n} {origin}: {len(have)} of {rounds}")
        for fault in verify(store, f"s{n}"):
            figures.fail(fault.message)
    store.close()
    left = [path.name for path in place.files() if path.suffix == ".journal"]
    if left or (left := place.leaks(MARKER.encode())):
        figures.leak(len(left), str(left))
