"""Archives: complete sessions as gzipped lines of `exporters.files.jsonl`, restorable byte for byte."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from eventstore.admission import Inadmissible
from eventstore.event import Event
from eventstore.files import atomic_write
from eventstore.integrity.incoming import Incoming
from eventstore.recording.journal import sync_folder
from eventstore.stores.base import Store
from eventstore.stores.chain import seal
from exporters.files.jsonl import BrokenChain, SessionHeading, lines
from turnlog.recordings import MAX_LINE_BYTES, BadRecording, Opener, file_lines

SUFFIX = ".jsonl.gz"


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


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_heading = msgspec.json.Decoder(SessionHeading).decode


def write_archive(
    store: Store, head: SessionHeading, folder: Path, on_written: Callable[[int], object] = lambda events: None
) -> Path:
    """Write the heading's session to a file in the folder, atomically and synced to disk; return its path.

    The name consists of the session and its seal, so a file is only ever replaced by itself. ``on_written`` is called
    with the number of events written since its last call. Raises `BrokenChain`, `OSError`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{quote(head.session_id, safe='', errors='replace')[:100]}-{head.seal[:16]}{SUFFIX}"
    # mtime=0: the same session gives the same bytes
    with atomic_write(path) as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        for number, line in enumerate(lines(store, head)):
            if len(line) > MAX_LINE_BYTES:  # could not be read back
                raise BrokenChain(f"session {head.session_id!r} has an event that is too large for an archive")
            zipped.write(line)
            on_written(1 if number else 0)
    sync_folder(folder)  # before the session is removed from the log
    return path


def is_archive(path: Path, open_file: Opener = lambda path: path.open("rb")) -> bool:
    """True if the file starts like an archive. Raises `BadRecording` if it cannot be read."""
    return any(line.startswith(b'{"turnlog":') for _place, line in _first(file_lines(path, open_file)))


def _first(lines: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    found = next(lines, None)
    return [] if found is None else [found]


def read_archive(
    path: Path, open_file: Opener = lambda path: path.open("rb"), seals: Collection[str] = ()
) -> Iterator[tuple[str, list[Event]]]:
    """Yield the name and the events of each session of an archive. Raises what `stream_archive` does."""
    name: str | None = None
    events: list[Event] = []
    for found in stream_archive(path, open_file, seals):
        if isinstance(found, Event):
            events.append(found)
            continue
        if name is not None:
            yield name, events
        name, events = found, []
    if name is not None:
        yield name, events


def stream_archive(
    path: Path, open_file: Opener = lambda path: path.open("rb"), seals: Collection[str] = ()
) -> Iterator[str | Event]:
    """Yield an archive's events in file order; the name of each session comes before its first event.

    Memory holds one line at a time; a session is known to be complete only at its end. Raises `BadRecording` if a
    session is not, byte for byte, what was archived, or has events that no recorder writes (`eventstore.admission`).
    ``seals`` are those of the log's own tombstones: sessions removed from this log are readmitted unchecked.
    """
    place, chain = str(path), _Chain(None, admitted=False)
    for where, line in file_lines(path, open_file):
        try:
            if not line.startswith(b'{"turnlog":'):
                yield chain.add(_decode_line(line), where)
                continue
            chain.end(place)
            place, head = where, _decode_heading(line)
            chain = _Chain(head, admitted=head.seal in seals)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRecording(f"{where}: not a line of an archive: {error}") from error
        yield head.session_id
    chain.end(place)


class _Chain:
    """The session that is being read, with the heading that it has to match at its end."""

    def __init__(self, head: SessionHeading | None, *, admitted: bool) -> None:
        """``admitted``: the events come from this log, so admission is not checked again."""
        self.head = head
        self._incoming = Incoming("" if head is None else head.session_id, admitted=admitted)

    def add(self, line: _Line, place: str) -> Event:
        event = line.event()
        try:
            link = self._incoming.add(event)
        except Inadmissible as error:
            raise BadRecording(f"{place}: {error}") from error
        if link.hex() != line.link:
            raise BadRecording(f"{place}: event {event.seq} of session {event.session_id!r} is not what was archived")
        return event

    def end(self, place: str) -> None:
        """Check the session at its end. Raises `BadRecording` if it is not complete."""
        if self.head is None:
            return
        origins = self._incoming.origins()
        found = sum(origin.events for origin in origins)
        if found != self.head.events or seal(origins) != self.head.seal:
            raise BadRecording(
                f"{place}: session {self.head.session_id!r} is not what was archived: {found} of "
                f"{self.head.events} events, and the seal differs"
            )
