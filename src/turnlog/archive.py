"""Archives: whole sessions in gzipped files of `exporters.jsonl`'s lines, and back without losing a byte."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from eventstore.admission import Inadmissible, admit
from eventstore.chain import Origin, genesis, link, seal
from eventstore.event import Event
from eventstore.journal import sync_folder
from eventstore.store import Store
from exporters.jsonl import BrokenChain, Heading, lines
from turnlog.files import replacing
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


def write(store: Store, head: Heading, folder: Path, wrote: Callable[[int], object] = lambda events: None) -> Path:
    """Archive the heading's session into the folder; the file is there whole, and on the disk, or not at all.

    Its name has the session's and its seal's, so that a file is only ever replaced by itself. ``wrote`` is told how
    many events were written since the last time. Raises `BrokenChain`, `OSError`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{quote(head.session_id, safe='', errors='replace')[:100]}-{head.seal[:16]}{SUFFIX}"
    # without a time in it: the same session gives the same bytes
    with replacing(path) as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        for number, line in enumerate(lines(store, head)):
            if len(line) > MAX_LINE_BYTES:  # it could not be read again
                raise BrokenChain(f"session {head.session_id!r} has an event that is too large for an archive")
            zipped.write(line)
            wrote(1 if number else 0)
    sync_folder(folder)  # before the session is removed from the log
    return path


def is_archive(path: Path, open_file: Opener = lambda path: path.open("rb")) -> bool:
    """Whether the file begins as an archive does. Raises `BadRecording` if it cannot be read."""
    return any(line.startswith(b'{"turnlog":') for _place, line in _first(file_lines(path, open_file)))


def _first(of: Iterator[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    found = next(of, None)
    return [] if found is None else [found]


def read(
    path: Path, open_file: Opener = lambda path: path.open("rb"), seals: Collection[str] = ()
) -> Iterator[tuple[str, list[Event]]]:
    """The sessions of an archive, each whole and with the place where it begins.

    Raises `BadRecording` if a session is not, to the byte, what was archived, or has events that no recorder writes
    (`eventstore.admission`). ``seals`` are those of the log's own tombstones: what it has removed it takes back as is.
    """
    place, head, chain = str(path), None, _Chain("", admitted=False)
    for where, line in file_lines(path, open_file):
        try:
            if line.startswith(b'{"turnlog":'):
                if head is not None:
                    yield place, chain.events_of(head, place)
                place, head = where, msgspec.json.decode(line, type=Heading)
                chain = _Chain(head.session_id, admitted=head.seal in seals)
            else:
                chain.add(msgspec.json.decode(line, type=_Line), where)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRecording(f"{where}: not a line of an archive: {error}") from error
    if head is not None:
        yield place, chain.events_of(head, place)


class _Chain:
    """Links a session's events anew while they are read."""

    def __init__(self, session_id: str, *, admitted: bool) -> None:
        """``admitted``: the log has had these events before."""
        self.session_id, self.admitted = session_id, admitted
        self.events: list[Event] = []
        self.tails: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.identities: set[tuple[str, int]] = set()

    def add(self, line: _Line, place: str) -> None:
        event = line.event()
        key = event.session_id, event.origin
        if event.session_id != self.session_id:
            raise BadRecording(f"{place}: an event of session {event.session_id!r} in session {self.session_id!r}")
        if (identity := (event.origin, event.seq)) in self.identities:
            raise BadRecording(f"{place}: event {event.seq} of origin {event.origin!r} is there twice")
        self.identities.add(identity)
        try:
            if not self.admitted:
                admit(event)
        except Inadmissible as error:
            raise BadRecording(f"{place}: event {str(event.seq)[:20]}: {error}") from error
        count, last = self.tails.get(key) or (0, genesis(*key))
        last = link(last, event)
        if last.hex() != line.link:
            raise BadRecording(f"{place}: event {event.seq} of session {event.session_id!r} is not what was archived")
        self.events.append(event)
        self.tails[key] = count + 1, last

    def events_of(self, head: Heading, place: str) -> list[Event]:
        origins = [Origin(*key, count, last) for key, (count, last) in self.tails.items()]
        if len(self.events) != head.events or seal(origins) != head.seal:
            raise BadRecording(
                f"{place}: session {head.session_id!r} is not what was archived: {len(self.events)} of "
                f"{head.events} events, and the seal is another"
            )
        return self.events
