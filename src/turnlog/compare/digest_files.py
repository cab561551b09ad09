"""Digest files: digests of replayed sessions, to compare a later version's replay with.

The format is JSON lines: a heading with the engine's version and the rules, then one line per session
(`projections.compare.digest`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from eventstore.errors import TurnlogError
from eventstore.event import Event
from projections.compare.digest import Digest, digest
from projections.reference.replay import turns
from projections.reference.rules import SWITCHES, Rules
from turnlog.recordings import BadRecording, Opener, file_lines


class BadDigests(TurnlogError):
    """The digest file cannot be read or compared."""


class DigestHeading(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal["turnlog-digests"] = "turnlog-digests"
    version: Literal[1] = 1
    engine: str
    """Version of turnlog."""
    rules: str
    switches: str
    """Hash of the enabled switches, as the meaning of a rule set's name may change."""


class SessionDigest(msgspec.Struct, frozen=True):
    session: str
    events: int
    ends: dict[str, int]
    """The ``seq`` of the last event of each origin: a session that has grown is compared up to there."""
    turns: list[Digest]
    """Digests of the completed turns."""


_decode_heading = msgspec.json.Decoder(DigestHeading).decode
_decode_session = msgspec.json.Decoder(SessionDigest).decode
_T = TypeVar("_T")


def digest_heading(rules: Rules) -> DigestHeading:
    """The heading of a file written by this version under these rules."""
    on = ",".join(switch for switch in SWITCHES if getattr(rules, switch))
    switches = hashlib.blake2b(on.encode(), digest_size=8).hexdigest()
    return DigestHeading(engine=version("turnlog"), rules=rules.name, switches=switches)


def session_digest(name: str, events: Iterable[Event], rules: Rules) -> SessionDigest:
    """Replay a session and digest its turns. Raises as `projections.reference.replay`."""
    kept = list(events)
    ends = {event.origin: event.seq for event in kept}
    return SessionDigest(name, len(kept), ends, [digest(turn) for turn in turns(kept, rules)])


def digest_line(item: DigestHeading | SessionDigest) -> bytes:
    return msgspec.json.encode(item) + b"\n"


def load_digests(
    path: Path, open_file: Opener = lambda path: path.open("rb")
) -> tuple[DigestHeading, Iterator[SessionDigest]]:
    """Read a file, session by session. Raises `BadDigests`, also during the iteration.

    ``open_file`` lets a caller track progress.
    """
    lines = _lines(path, open_file)
    first = next(lines, (str(path), b""))
    heading = _decode(*first, _decode_heading, "is not a digest file of this version; create one with `turnlog digest`")
    return heading, _sessions(lines)


def _sessions(lines: Iterator[tuple[str, bytes]]) -> Iterator[SessionDigest]:
    for place, text in lines:
        yield _decode(place, text, _decode_session, "is not a session of a digest file; the file is damaged")


def _lines(path: Path, open_file: Opener) -> Iterator[tuple[str, bytes]]:
    try:
        yield from file_lines(path, open_file)
    except BadRecording as error:
        raise BadDigests(f"cannot read {error}") from error


def _decode(place: str, text: bytes, decode: Callable[[bytes], _T], problem: str) -> _T:
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDigests(f"{place} {problem}") from error


def digested_events(events: Iterable[Event], stored: SessionDigest) -> list[Event] | None:
    """The events that the digest was made from; None if they have changed because one arrived late."""
    found = [event for event in events if event.seq <= stored.ends.get(event.origin, -1)]
    counts = Counter(event.origin for event in found)
    return found if len(found) == stored.events and counts.keys() == stored.ends.keys() else None
