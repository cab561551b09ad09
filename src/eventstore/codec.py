"""Reading payloads, old ones included (law 7).

When a hook's arguments change, its version goes up (`eventstore.recording.schema_version`) and a function is added to
`UPCASTERS` that turns the old arguments into the next version's. An event is carried forward one version at a time when
it is read; what is stored stays as it was recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from eventstore.arguments import Args
from eventstore.errors import NewerEvent, UnknownHook
from eventstore.event import Event
from eventstore.vocabulary import HOOKS

UPCASTERS: dict[tuple[str, int], Callable[[Args], Args]] = {}
"""By hook and the version to carry forward from."""


def decode(event: Event) -> Args:
    """The event's arguments in today's schema.

    Raises `UnknownHook` or `NewerEvent` for what only a newer turnlog can have recorded.
    """
    args: Args = orjson.loads(event.payload)
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
