"""One very long session, looked at all the time while it is recorded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from eventstore import recover
from eventstore.integrity.session import verify
from soak.children import FORKING, Acknowledgements, acknowledged
from soak.figures import Advance, Figures
from soak.places import Place, Places
from turnlog import Recorder

TURN = 50
"""Events of a turn."""
STEPS = 40
"""How often memory is measured."""
GROWTH_BYTES_PER_EVENT = 20
"""Finished turns are kept compressed; more than this would be a copy of the log in memory."""


def agent(place: Place, events: int, path: Path) -> None:
    """Turns of an agent that streams, with a live read every tenth call; says how far it is, and its memory."""
    acks, own = Acknowledgements(path), psutil.Process(os.getpid())
    store = place.open("")
    with Recorder(store, "long", origin="o", journal=place.journal) as recorder:
        for n in range(events):
            step = n % TURN
            if step == 0:
                recorder.start_turn()
            elif step == 1:
                recorder.set_user_transcript(f"what is {n}, and why?")
            elif step == 2:
                recorder.on_llm_start()
            elif step == 3:
                recorder.on_llm_first_token()  # without a latency the turn would be discarded
            elif step == TURN - 1:
                recorder.complete_turn()
            else:
                recorder.add_tts_characters(step)
            if n % 10 == 9:
                _ = recorder.current_turn
            if (n + 1) % max(1, events // STEPS) == 0:
                while recorder.health.backlog_bytes > 1 << 20:  # what waits in the journal is mapped into memory
                    time.sleep(0.01)
                acks.write(f"{n + 1} {own.memory_info().rss} {recorder.health.backlog_bytes}")
        if not recorder.close(600):
            raise SystemExit(f"not all is stored: {recorder.health}")
    store.close()


def million(places: Places, events: int, advance: Advance) -> list[Figures]:
    """The log on SQLite; memory after the first tenth and at the end."""
    figures = Figures(f"one session of {events:,} events, live reads", "events", tried=events)
    place, path = places.new("sqlite"), places.acknowledgements / "million"
    process = FORKING.Process(target=agent, args=(place, events, path))
    process.start()
    shown = 0
    while process.is_alive():
        process.join(0.5)
        if lines := acknowledged(path):
            advance(int(lines[-1].split()[0]) - shown)
            shown = int(lines[-1].split()[0])
    if process.exitcode != 0:
        figures.fail(f"the agent ended with {process.exitcode}")
    samples = [tuple(map(int, line.split())) for line in acknowledged(path)]
    store = place.open("")
    recover(store, place.journal)
    figures.survived = sum(event.seq == n for n, event in enumerate(store.read("long")))
    if figures.survived != events:
        figures.lose(events - figures.survived, "events of the long session")
    for fault in verify(store, "long"):
        figures.fail(fault.message)
    store.close()
    _measure(figures, samples)
    if left := [path.name for path in place.files() if path.suffix == ".journal"]:
        figures.leak(len(left), str(left))
    places.remove(place)
    return [figures]


def _measure(figures: Figures, samples: list[tuple[int, ...]]) -> None:
    if len(samples) < 10:
        return
    (early, before, _), (late, after, _) = samples[len(samples) // 10], samples[-1]
    most = max(size for _n, size, _backlog in samples)
    figures.notes.append(
        f"{before >> 20} MiB resident after {early:,} events, {after >> 20} MiB at the end, {most >> 20} MiB at most"
    )
    if figures.tried >= 500_000 and after - before > GROWTH_BYTES_PER_EVENT * (late - early):
        figures.leak(1, f"memory: {(after - before) / (late - early):.0f} bytes an event")
