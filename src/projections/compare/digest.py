"""Digests: turns as numbers and hashes, which show the fields in which a later engine differs without the content.

Numbers are kept, so that a change can be shown. Everything else (text, lists and objects from the agent) becomes a
BLAKE2b hash of 32 bits: one change in four billion is missed, and many texts share each hash. The hash has no key, so
a guessed text can be tested against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from projections.compare.turns import MISSING, Change, match_by_opening
from projections.model import is_number
from projections.reference.metrics import Turn

PRESENT = "(a turn)"
Digest = dict[str, Any]
"""Values by path. Empty values are left out; a list is its length, and a component True if present."""
CONTENT_FIELDS = frozenset({
    "user_speech", "agent_speech", "text", "stt_transcript", "stt_preflight_transcript", "llm_input", "kb_documents",
    "tool_params", "tool_response", "message",
})  # fmt: skip
"""Fields with content, which are hashed even if they are numbers."""


def digest(turn: Turn) -> Digest:
    """The digest of a turn, without its id, which counts turns."""
    return dict(_fields(turn, ""))


def _fields(struct: msgspec.Struct, path: str) -> Iterator[tuple[str, float | bool | str]]:
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        here = f"{path}.{name}" if path else name
        if value is None or value is msgspec.UNSET or value in ("", [], {}) or name == "turn_id":
            continue
        if isinstance(value, msgspec.Struct):
            yield here, True
            yield from _fields(value, here)
        elif isinstance(value, list) and all(isinstance(item, msgspec.Struct) for item in value):
            yield here, len(value)
            for n, item in enumerate(value):
                yield from _fields(item, f"{here}[{n}]")
        elif isinstance(value, bool) or (is_number(value) and name not in CONTENT_FIELDS):
            yield here, value
        else:
            yield here, _hash(value)


def _hash(value: Any) -> str:
    # builtins first, as a struct is written in the order of its fields
    encoded = msgspec.json.encode(msgspec.to_builtins(value), order="deterministic")
    return hashlib.blake2b(encoded, digest_size=4, person=b"turnlog").hexdigest()


def changes_since(stored: list[Digest], now: list[Digest]) -> list[Change]:
    """All fields in which a session's turns differ from the stored ones, which are the first side."""
    found = []
    for number, other in match_by_opening([_opened(each) for each in stored], [_opened(each) for each in now]):
        if number is None or other is None:
            before, after = (MISSING if each is None else PRESENT for each in (number, other))
            found.append(Change(number, other, "", before, after))
        else:
            found += [Change(number, other, *each) for each in _differences(stored[number - 1], now[other - 1])]
    return found


def _differences(before: Digest, after: Digest) -> Iterator[tuple[str, Any, Any]]:
    """Fields that differ; for lists of different lengths, or a component on one side only, nothing below is listed."""
    reported: tuple[str, ...] = ()
    for path in dict.fromkeys([*before, *after]):
        one, two = before.get(path), after.get(path)
        if one != two and not path.startswith(reported):
            reported += (f"{path}[", f"{path}.")
            yield path, one, two


def _opened(each: Digest) -> float:
    return float(each.get("timestamp", 0.0))
