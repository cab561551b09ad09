"""Logs for the viewer: a day of calls with one bad hour, and sessions that mean harm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from eventstore import Event, open_store
from support.known_calls import MARCH_NS
from support.logs import QUESTION, Log, events

HOUR_NS = 3_600_000_000_000
BAD_HOUR = 14
A_DAY = 120
"""Number of sessions, five an hour."""


def call(name: str, log: Log, wall_ns: int, slow: float = 1.0) -> list[Event]:
    """The log as a session of that name that starts then, ``slow`` times as long."""
    found = events(log)
    begun = found[0].wall_ns
    return [
        msgspec.structs.replace(
            event,
            session_id=name,
            origin=f"o-{name}",
            perf_ns=round(event.perf_ns * slow),
            wall_ns=wall_ns + round((event.wall_ns - begun) * slow),
        )
        for event in found
    ]


def answered(words: str = "Hi.", answer: str = "Good day.", version: str = "1.4") -> Log:
    """One question with its answer, after 1,000 ms."""
    meta: dict[str, Any] = {"participant_id": "a", "kind": "agent", "meta": {"version": version}}
    said = [
        (at, hook, {name: words if name == "transcript" else answer for name in args}) for at, hook, args in QUESTION
    ]
    ends = [(4000, "on_agent_speech_end", {}), (5000, "finalize_session", {})]
    return [(0, "add_participant_metrics", meta), *said, *ends]


def failed() -> Log:
    """A question whose answer never comes: the LLM fails."""
    return [*QUESTION[:7], (2600, "add_error", {"source": "LLM", "message": "429 too many requests"}),
            (9000, "finalize_session", {})]  # fmt: skip


def week(path: Path) -> None:
    """A day of calls. Answers take a second, and three from 14:00 to 15:00; the last call fails."""
    store, made = open_store(path), []
    for n in range(A_DAY):
        hour = n // 5
        log = failed() if n == A_DAY - 1 else answered(f"Question {n}.", version="1.5" if hour >= 12 else "1.4")
        made += call(f"call-{n:03}", log, MARCH_NS + n * HOUR_NS // 5, 3.0 if hour == BAD_HOUR else 1.0)
    store.append(made)
    store.close()


HOSTILE = {
    "markup": "<img src=x onerror=alert(1)><script>alert(2)</script></textarea></title><svg onload=alert(3)>",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "quotes": "\" onmouseover=alert(4) x='",
    "control": "bell\x07 escape\x1b[31m null\x00 back\x08",
    "bidi": "\u202eevil\u202c \u2066isolated\u2069",
    "address": "javascript:alert(5)",
}
"""Text that must be shown as it is, by what it tries."""


def hostile(path: Path) -> None:
    """Sessions named, and filled, with hostile text; some that are broken."""
    store = open_store(path)
    for n, text in enumerate(HOSTILE.values()):
        store.append(call(text, [*answered(text, text, version=text)], MARCH_NS + n * HOUR_NS))
    store.append(call("megabyte", answered("word " * 200_000), MARCH_NS))
    store.append(call("no turns", [(0, "start_turn", {})], MARCH_NS))
    store.append(call("one event", [(0, "on_user_speech_start", {})], MARCH_NS))
    store.append(call("killed", answered()[:-3], MARCH_NS))
    store.append(_unreadable())
    store.close()


def _unreadable() -> Iterable[Event]:
    """A session that cannot be replayed."""
    return [msgspec.structs.replace(call("unreadable", QUESTION, MARCH_NS)[0], payload="not json")]
