"""Recording cost per event of a LiveKit session: the time to emit an event with and without the adapter.

    .venv-livekit/bin/python benchmarks/adapters_livekit.py

The events of one scripted call are emitted repeatedly on a session, in order, without listeners and with the adapter
attached; the medians of ten rounds are compared.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from typing import Any

from eventstore import Store, open_store
from turnlog.adapters.livekit.adapter import attach
from turnlog.adapters.livekit.demo.agent import ShopAgent, new_session, wait_for_answer
from turnlog.adapters.livekit.demo.parts import Caller

ROUNDS, REPEATS = 10, 20


async def call() -> tuple[list[tuple[str, Any]], float]:
    """The events of a call with two questions, and the framework's CPU time per event in microseconds."""
    caller, events = Caller(), []
    session = new_session(caller)
    emit = session.emit

    def record(name: str, event: Any) -> None:
        events.append((name, event))
        emit(name, event)

    session.emit = record
    began = time.process_time()
    await session.start(ShopAgent(), record=False)
    await wait_for_answer(session)
    for question in ("Are you open on Sunday?", "Where is my order A17?"):
        await caller.say(question)
        await wait_for_answer(session)
    took = time.process_time() - began
    await session.aclose()
    return [(name, event) for name, event in events if name != "close"], took / len(events) * 1e6


async def emitted_us(events: list[tuple[str, Any]], store: Store | None) -> float:
    """Microseconds to emit one event, with the adapter if there is a store."""
    session = new_session(Caller())
    await session.start(ShopAgent(), record=False)
    adapter = attach(session, store) if store is not None else None
    began = time.perf_counter()
    for _ in range(REPEATS):
        for name, event in events:
            session.emit(name, event)
    took = time.perf_counter() - began
    if adapter is not None:
        assert adapter.failed == 0, adapter.last_error
        await asyncio.to_thread(adapter.close)
    await session.aclose()
    return took / REPEATS / len(events) * 1e6


async def main() -> None:
    events, framework = await call()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/calls.db")
        rounds = [(await emitted_us(events, store), await emitted_us(events, None)) for _ in range(ROUNDS)]
        store.close()
    ours, theirs = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(
        f"livekit: {ours - theirs:.0f} µs per event for recording; the framework itself takes {framework:.0f} µs of "
        f"CPU time per event, {theirs:.1f} µs of it to emit ({len(events)} events)"
    )


asyncio.run(main())
