"""Events made up for tests."""

from __future__ import annotations

from eventstore import Event


def event(seq: int, *, session: str = "s", origin: str = "o", payload: str = "{}", wall_ns: int = 10**18) -> Event:
    return Event(session, origin, seq, "on_eou_start", 1, 1_000 + seq, wall_ns + seq, payload)
