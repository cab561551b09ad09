"""Calls whose latencies are known, recorded through the recorder with a clock that stands still between its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from eventstore import Clock, Recorder, Store
from turnlog.conformance import no_timers

DAY_NS = 86_400_000_000_000
MARCH_NS = 1_772_323_200_000_000_000
"""2026-03-01, midnight UTC."""


class StillClock:
    def __init__(self, wall_ns: int = MARCH_NS) -> None:
        self.perf_ns, self.wall_ns = 1_000_000_000, wall_ns

    def advance(self, ms: float) -> None:
        self.perf_ns += round(ms * 1e6)
        self.wall_ns += round(ms * 1e6)


@contextmanager
def recording(store: Store, session: str, wall_ns: int = MARCH_NS) -> Iterator[tuple[Recorder, StillClock]]:
    clock = StillClock(wall_ns)
    both = Clock(lambda: clock.perf_ns, lambda: clock.wall_ns)
    with Recorder(store, session, clock=both, scheduler=no_timers, durability="memory") as recorder:
        yield recorder, clock


def turn(recorder: Recorder, clock: StillClock, *, eou: float = 0, ttft: float = 0, tts: float = 0) -> None:
    """A turn with these latencies, in milliseconds; it stays open. Its E2E is their sum."""
    recorder.start_turn()
    recorder.on_eou_start()
    clock.advance(eou)
    recorder.on_eou_complete()
    recorder.on_llm_start()
    clock.advance(ttft)
    recorder.on_llm_first_token()
    recorder.on_tts_start()
    clock.advance(tts)
    recorder.on_tts_first_byte()
    recorder.on_agent_speech_start()
    clock.advance(1000)
    recorder.on_agent_speech_end()


def call(store: Store, session: str, ttfts: Iterable[float], wall_ns: int = MARCH_NS) -> None:
    """A turn for each time to first token, and nothing else in it that takes time."""
    with recording(store, session, wall_ns) as (recorder, clock):
        for ttft in ttfts:
            turn(recorder, clock, ttft=ttft)
        recorder.finalize_session()
