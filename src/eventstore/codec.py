"""Reading payloads, old ones included (law 7).

When a hook's arguments change, its version goes up (`eventstore.hooks.declare.schema_version`) and a function is added
to `UPCASTERS` that turns the old arguments into the next version's. An event is carried forward one version at a time
when it is read; what is stored stays as it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from eventstore.errors import NewerEvent, UnknownHook
from eventstore.event import Event
from eventstore.hooks.arguments import HAPPENED, Args
from eventstore.hooks.vocabulary import HOOKS

UPCASTERS: dict[tuple[str, int], Callable[[Args], Args]] = {}
"""By hook and the version to carry forward from."""
read_payload: Callable[[str], Args] = msgspec.json.Decoder().decode
"""A payload as it was recorded. msgspec reads what orjson wrote just as orjson does, and short ones twice as fast."""


def clocks(event: Event) -> tuple[int, int]:
    """The monotonic and the wall clock, in nanoseconds, at which the event counts.

    That is when it was recorded, or, of a back-dated event, when it happened (`eventstore.recording.backdating`).
    """
    if event.payload.startswith('{"$'):
        happened_ns = read_payload(event.payload).get(HAPPENED)
        if isinstance(happened_ns, int):
            return happened_ns, event.wall_ns - (event.perf_ns - happened_ns)
    return event.perf_ns, event.wall_ns


def decode(event: Event) -> Args:
    """The event's arguments in today's schema.

    Raises `UnknownHook` or `NewerEvent` for what only a newer turnlog can have recorded, `ValueError` for what is not
    JSON.
    """
    try:
        args = read_payload(event.payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"event {event.seq} of session {event.session_id!r} has no JSON in it: {error}") from error
    hook = HOOKS.get(event.hook)
    if hook is None:
        raise UnknownHook(f"event {event.seq} of session {event.session_id!r} has the unknown hook {event.hook!r}")
    if event.version == hook.version:
        return args
    if event.version > hook.version:
        raise NewerEvent(
            f"event {event.seq} of session {event.session_id!r} is {event.hook} version {event.version}; this turnlog "
            f"knows up to version {hook.version}: upgrade turnlog to read it"
        )
    for version in range(event.version, hook.version):
        args = UPCASTERS[event.hook, version](args)
    return args
