"""Validation of events from files (recordings, archives) before they may enter the log.

A recorder makes its own events, and names them so that they may be moved; the content of a file is untrusted.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from eventstore.codec import read_payload
from eventstore.control import CONTROL
from eventstore.errors import TurnlogError
from eventstore.event import Event
from eventstore.hooks.arguments import ALTERED, HAPPENED, RAW
from eventstore.hooks.vocabulary import HOOKS, Hook

ID_BYTES = 255
"""Maximum length of a session id or an origin, in UTF-8."""
SEALED = "$sealed"
_INT64 = range(-(2**63), 2**63)
_SEQ = range(2**63)
_CREATED_SECONDS = 2**63 / 1e9
"""Bound on seconds since the epoch, so that they fit into 64 bits as nanoseconds."""


class Inadmissible(TurnlogError):
    """No recorder can have made this event."""


def admit(event: Event) -> None:
    """Validate an event from a file. Raises `Inadmissible`."""
    for what, name in (("session id", event.session_id), ("origin", event.origin)):
        check_id(what, name)
    _check_range("seq", event.seq, _SEQ)
    _check_range("perf_ns", event.perf_ns, _INT64)
    _check_range("wall_ns", event.wall_ns, _INT64)
    hook = HOOKS.get(event.hook)
    if hook is None:
        raise Inadmissible(f"unknown hook {event.hook[:ID_BYTES]!r}; a newer turnlog may support it")
    if not 1 <= event.version <= hook.version:
        raise Inadmissible(f"{hook.name} has no version {event.version}; this turnlog supports 1 to {hook.version}")
    _check_arguments(hook, event)


def check_id(what: str, name: str) -> None:
    """Validate an id. Raises `Inadmissible` if it is empty, too long, or has control characters."""
    if not name:
        raise Inadmissible(f"the {what} is empty")
    if found := CONTROL.search(name):
        raise Inadmissible(f"the {what} contains the control character {found[0]!a}")
    if (size := len(name.encode())) > ID_BYTES:
        raise Inadmissible(f"the {what} is {size} bytes long; the maximum is {ID_BYTES}")


def admissible_id(name: str) -> str:
    """The name if `check_id` accepts it, or one made from it that does, the same in every process.

    A replacement ends in ``~`` and a digest of the name, so that two calls do not become one.
    """
    try:
        check_id("id", name)
    except Inadmissible:
        suffix = "~" + blake2b(name.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        clean = CONTROL.sub("\ufffd", name).encode()[: ID_BYTES - len(suffix)]
        return clean.decode(errors="ignore") + suffix
    return name


def _check_range(what: str, number: int, allowed: range) -> None:
    if number not in allowed:
        raise Inadmissible(f"{what} is out of range: {number}")


def _check_arguments(hook: Hook, event: Event) -> None:
    args = _load_object(event.payload)
    sealed = SEALED in args
    if sealed and not isinstance(args[SEALED], str):
        raise Inadmissible(f"{SEALED} is not text")
    if HAPPENED in args and (type(args[HAPPENED]) is not int or args[HAPPENED] not in _INT64):
        raise Inadmissible(f"{HAPPENED} is not a 64-bit integer")
    if event.version == hook.version:  # the upcasters check the arguments of older versions
        names = args.keys() - {SEALED, ALTERED, HAPPENED, RAW}
        if unknown := names - hook.arguments.keys():
            raise Inadmissible(f"{hook.name} takes no argument {min(unknown)!r}; it has: {', '.join(hook.arguments)}")
        missing = [name for name, default in hook.arguments.items() if default is ... and name not in names]
        if missing and not sealed and ALTERED not in args:
            raise Inadmissible(f"{hook.name} lacks its argument {missing[0]!r}")
    if event.hook == "log_record" and not sealed:
        created = args.get("created")
        if created is not None and (type(created) not in (int, float) or not abs(created) < _CREATED_SECONDS):
            raise Inadmissible(f"created is not a time in seconds: {str(created)[:40]}")


def _load_object(payload: str) -> dict[str, Any]:
    """The decoded payload. Raises `Inadmissible` unless every reader of the log can decode and re-encode it."""
    try:
        args = read_payload(payload)
        orjson.dumps(args)  # rejects deep nesting, and integers beyond 64 bits
    except (msgspec.DecodeError, RecursionError, TypeError, ValueError) as error:
        raise Inadmissible(f"the payload cannot be stored as JSON: {str(error)[:200]}") from error
    if not isinstance(args, dict):
        raise Inadmissible("the payload is not a JSON object")
    return args
