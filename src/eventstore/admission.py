"""What an event from a file must be before it may enter the log.

A recorder makes its events itself; a file may hold anything. Recordings and archives pass the same check.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson

from eventstore.codec import read_payload
from eventstore.errors import TurnlogError
from eventstore.event import Event
from eventstore.hooks.arguments import ALTERED, HAPPENED, RAW
from eventstore.hooks.vocabulary import HOOKS, Hook

ID_BYTES = 255
"""How long the id of a session or an origin may be, in UTF-8."""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""What moves a terminal's cursor or turns the direction of text (C0, DEL, C1, line separators, bidirectional controls),
and lone surrogates."""
SEALED = "$sealed"
_INT64 = range(-(2**63), 2**63)
_SEQ = range(2**63)
_CREATED_SECONDS = 2**63 / 1e9
"""Seconds since the epoch that fit into 64 bits of nanoseconds."""


class Inadmissible(TurnlogError):
    """An event from a file is not one that a recorder can have made."""


def admit(event: Event) -> None:
    """Raises `Inadmissible`, saying what is wrong with the event."""
    for what, name in (("session id", event.session_id), ("origin", event.origin)):
        check_id(what, name)
    _check_range("seq", event.seq, _SEQ)
    _check_range("perf_ns", event.perf_ns, _INT64)
    _check_range("wall_ns", event.wall_ns, _INT64)
    hook = HOOKS.get(event.hook)
    if hook is None:
        raise Inadmissible(f"unknown hook {event.hook[:ID_BYTES]!r}; a newer turnlog may know it")
    if not 1 <= event.version <= hook.version:
        raise Inadmissible(
            f"{hook.name} has no version {event.version}; this turnlog knows 1 to {hook.version}, a newer one may more"
        )
    _check_arguments(hook, event)


def check_id(what: str, name: str) -> None:
    """Raises `Inadmissible` if the id is empty, too long, or has control characters."""
    if not name:
        raise Inadmissible(f"the {what} is empty")
    if found := CONTROL.search(name):
        raise Inadmissible(f"the {what} has the control character {found[0]!a} in it")
    if (size := len(name.encode())) > ID_BYTES:
        raise Inadmissible(f"the {what} is {size} bytes long; at most {ID_BYTES} are taken")


def _check_range(what: str, number: int, allowed: range) -> None:
    if number not in allowed:
        raise Inadmissible(f"{what} is out of range: {number}")


def _check_arguments(hook: Hook, event: Event) -> None:
    args = _load_object(event.payload)
    sealed = SEALED in args
    if sealed and not isinstance(args[SEALED], str):
        raise Inadmissible(f"{SEALED} is not text")
    if HAPPENED in args and (type(args[HAPPENED]) is not int or args[HAPPENED] not in _INT64):
        raise Inadmissible(f"{HAPPENED} is not an integer of 64 bits")
    if event.version == hook.version:  # the arguments of older versions are the upcasters' business
        own = args.keys() - {SEALED, ALTERED, HAPPENED, RAW}
        if unknown := own - hook.arguments.keys():
            raise Inadmissible(f"{hook.name} takes no argument {min(unknown)!r}; it has: {', '.join(hook.arguments)}")
        missing = [name for name, default in hook.arguments.items() if default is ... and name not in own]
        if missing and not sealed and ALTERED not in args:
            raise Inadmissible(f"{hook.name} lacks its argument {missing[0]!r}")
    if event.hook == "log_record" and not sealed:
        created = args.get("created")
        if created is not None and (type(created) not in (int, float) or not abs(created) < _CREATED_SECONDS):
            raise Inadmissible(f"created is not a time in seconds: {str(created)[:40]}")


def _load_object(payload: str) -> dict[str, Any]:
    """The payload, if it is one that every reader of the log can decode and encode again."""
    try:
        args = read_payload(payload)
        orjson.dumps(args)  # refuses what is nested too deep, and integers beyond 64 bits
    except (msgspec.DecodeError, RecursionError, TypeError, ValueError) as error:
        raise Inadmissible(f"the payload is not JSON that can be kept: {str(error)[:200]}") from error
    if not isinstance(args, dict):
        raise Inadmissible("the payload is not a JSON object")
    return args
