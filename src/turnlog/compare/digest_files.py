"""Digest files: what an engine made of some sessions, for a later one to be compared with.

JSON lines: a heading with the engine's version and the rules, then a line for each session
(`projections.compare.digest`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from eventstore.errors import TurnlogError
from eventstore.event import Event
from projections.compare.digest import Digest, digest
from projections.reference.replay import turns
from projections.reference.rules import SWITCHES, Rules
from turnlog.recordings import BadRecording, Opener, file_lines


class BadDigests(TurnlogError):
    """A digest file that cannot be read, or not be compared with."""


class DigestHeading(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal["turnlog-digests"] = "turnlog-digests"
    version: Literal[1] = 1
    engine: str
    """Version of turnlog."""
    rules: str
    switches: str
    """Hash of the switches that are on: what the rule set's name meant."""


class SessionDigest(msgspec.Struct, frozen=True):
    session: str
    events: int
    ends: dict[str, int]
    """The ``seq`` of the last event of each origin: a log may grow, and then is compared up to there."""
    turns: list[Digest]
    """The completed ones."""


def digest_heading(rules: Rules) -> DigestHeading:
    """That of a file which this engine writes under these rules."""
    on = ",".join(switch for switch in SWITCHES if getattr(rules, switch))
    switches = hashlib.blake2b(on.encode(), digest_size=8).hexdigest()
    return DigestHeading(engine=version("turnlog"), rules=rules.name, switches=switches)


def session_digest(name: str, events: Iterable[Event], rules: Rules) -> SessionDigest:
    """What this engine makes of a session. Raises as `projections.reference.replay`."""
    kept = list(events)
    ends = {event.origin: event.seq for event in kept}
    return SessionDigest(name, len(kept), ends, [digest(turn) for turn in turns(kept, rules)])


def digest_line(item: DigestHeading | SessionDigest) -> bytes:
    return msgspec.json.encode(item) + b"\n"


def load_digests(
    path: Path, open_file: Opener = lambda path: path.open("rb")
) -> tuple[DigestHeading, Iterator[SessionDigest]]:
    """Read a file, session by session. Raises `BadDigests`, also while the sessions are read.

    ``open_file`` lets a caller watch the progress.
    """
    lines = _lines(path, open_file)
    first = next(lines, (str(path), b""))
    return _decoded(*first, DigestHeading, "is no digest file of this version; `turnlog digest` makes one"), _sessions(
        lines
    )


def _sessions(lines: Iterator[tuple[str, bytes]]) -> Iterator[SessionDigest]:
    for place, text in lines:
        yield _decoded(place, text, SessionDigest, "is no session of a digest file; it is damaged")


def _lines(path: Path, open_file: Opener) -> Iterator[tuple[str, bytes]]:
    try:
        yield from file_lines(path, open_file)
    except BadRecording as error:
        raise BadDigests(f"cannot read {error}") from error


def _decoded(place: str, text: bytes, kind: type[Any], said: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDigests(f"{place} {said}") from error


def up_to(events: Iterable[Event], stored: SessionDigest) -> list[Event] | None:
    """The events of which the digest was made; None if it was made of others, as one has come late since."""
    found = [event for event in events if event.seq <= stored.ends.get(event.origin, -1)]
    counts = Counter(event.origin for event in found)
    return found if len(found) == stored.events and counts.keys() == stored.ends.keys() else None
