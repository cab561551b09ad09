"""Whole sessions in files, as the log has them, and back without losing a byte.

JSON lines, gzipped: a heading ``{"turnlog": "session", "format": 1, "session_id": …, "events": …, "seal": …}``, then
the events, origin by origin in the order of their hash chains, each with its link. Encrypted content stays encrypted.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec
import orjson

from eventstore.chain import Linked, Origin, genesis, link, seal
from eventstore.errors import TurnlogError
from eventstore.event import Event
from eventstore.store import Store
from turnlog.recordings import BadRecording, Opener, lines

SUFFIX = ".jsonl.gz"


class BrokenChain(TurnlogError):
    """A session's chain does not hold, so its archive would not be what was recorded."""


class Heading(msgspec.Struct):
    """The first line of a session in an archive."""

    turnlog: Literal["session"]
    format: Literal[1]
    session_id: str
    events: int
    seal: str


class _Line(msgspec.Struct):
    session_id: str
    origin: str
    seq: int
    hook: str
    version: int
    perf_ns: int
    wall_ns: int
    payload: msgspec.Raw
    link: str

    def event(self) -> Event:
        raw = bytes(self.payload)
        payload = msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()
        names = self.session_id, self.origin
        return Event(*names, self.seq, self.hook, self.version, self.perf_ns, self.wall_ns, payload)


def write(store: Store, session_id: str, folder: Path, wrote: Callable[[int], object] = lambda events: None) -> Path:
    """Archive a session into the folder; the file is there whole, and on the disk, or not at all.

    Its name has the session's and its seal's, so that a file is only ever replaced by itself. ``wrote`` is told how
    many events were written since the last time. Raises `BrokenChain`, `OSError`.
    """
    origins = [origin for origin, _stored in store.chains(session_id)]
    folder.mkdir(parents=True, exist_ok=True)
    digest = seal(origins)
    path = folder / f"{quote(session_id, safe='')[:100]}-{digest[:16]}{SUFFIX}"
    unready = path.with_name(path.name + ".part")
    try:
        # a file of calls is for its owner's eyes, and the same session gives the same bytes
        fd = os.open(unready, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
            heading = Heading("session", 1, session_id, sum(origin.events for origin in origins), digest)
            zipped.write(msgspec.json.encode(heading) + b"\n")
            for line in _lines(store, session_id, origins):
                zipped.write(line)
                wrote(1)
            zipped.close()
            file.flush()
            os.fsync(file.fileno())
        unready.rename(path)
    finally:
        unready.unlink(missing_ok=True)
    return path


def _lines(store: Store, session_id: str, origins: list[Origin]) -> Iterator[bytes]:
    for found, (origin, stored) in zip(origins, store.chains(session_id), strict=False):
        last = genesis(session_id, origin.origin)
        for linked in stored:
            last = link(last, linked.event)
            if last != linked.link:
                raise BrokenChain(f"session {session_id!r} does not verify, see: turnlog verify {session_id}")
            yield _line(linked)
        if last != found.link:
            raise BrokenChain(
                f"session {session_id!r} is still being recorded, or was tampered with; see turnlog verify"
            )


def _line(linked: Linked) -> bytes:
    event = linked.event
    fields = msgspec.structs.asdict(event)
    payload = fields.pop("payload").encode()
    head = orjson.dumps({**fields, "link": linked.link.hex()})
    return head[:-1] + b',"payload":' + (payload if _fits(payload) else orjson.dumps(event.payload)) + b"}\n"


def _fits(payload: bytes) -> bool:
    """Whether it can stand in a line as it is; else it goes in as a string."""
    try:
        return payload.startswith(b"{") and b"\n" not in payload and orjson.loads(payload) is not None
    except orjson.JSONDecodeError:
        return False


def is_archive(path: Path, open_file: Opener = lambda path: path.open("rb")) -> bool:
    """Whether the file begins as an archive does. Raises `BadRecording` if it cannot be read."""
    return any(line.startswith(b'{"turnlog":') for _place, line in _first(lines(path, open_file)))


def _first(of: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    found = next(of, None)
    return [] if found is None else [found]


def read(path: Path, open_file: Opener = lambda path: path.open("rb")) -> Iterator[tuple[str, list[Event]]]:
    """The sessions of an archive, each whole and with the place where it begins.

    Raises `BadRecording` if a session is not, to the byte, what was archived.
    """
    place, heading, chain = str(path), None, _Chain()
    for where, line in lines(path, open_file):
        try:
            if line.startswith(b'{"turnlog":'):
                if heading is not None:
                    yield place, chain.events_of(heading, place)
                place, heading, chain = where, msgspec.json.decode(line, type=Heading), _Chain()
            else:
                chain.add(msgspec.json.decode(line, type=_Line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRecording(f"{where}: not a line of an archive: {error}") from error
    if heading is not None:
        yield place, chain.events_of(heading, place)


class _Chain:
    """Links a session's events anew while they are read."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.tails: dict[tuple[str, str], tuple[int, bytes]] = {}

    def add(self, line: _Line) -> None:
        event = line.event()
        self.events.append(event)
        key = event.session_id, event.origin
        count, last = self.tails.get(key) or (0, genesis(*key))
        self.tails[key] = count + 1, link(last, event)

    def events_of(self, heading: Heading, place: str) -> list[Event]:
        origins = [Origin(*key, count, last) for key, (count, last) in self.tails.items()]
        if len(self.events) != heading.events or seal(origins) != heading.seal:
            raise BadRecording(
                f"{place}: session {heading.session_id!r} is not what was archived: {len(self.events)} of "
                f"{heading.events} events, and the seal is another"
            )
        return self.events
