"""The binary format of a recorded call in the journal.

A body consists of the names (session, origin, hook, version), ``seq, perf_ns, wall_ns``, and the payload, empty for a
call without arguments. It is self-contained, so journal files can be cut, dropped and recovered one by one. A frame is
a body preceded by its length and checksum. `eventstore.recording.resync` reads damaged bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from eventstore.event import Event
from eventstore.hooks.vocabulary import HOOKS

FRAME = struct.Struct("<II")
"""Length of the body, CRC-32 of the body."""
STAMP = struct.Struct("<qqq")
NAMES = struct.Struct("<HHHH")
"""Lengths of session, origin and hook name, and the hook's version."""
MIN_BODY = NAMES.size + STAMP.size


def head(session_id: str, origin: str, hook: str) -> bytes:
    """The common beginning of all bodies of a recorder's hook, up to the stamp."""
    names = [name.encode() for name in (session_id, origin, hook)]
    return NAMES.pack(*map(len, names), HOOKS[hook].version) + b"".join(names)


def decode(body: bytes) -> Event:
    session_bytes, origin_bytes, hook_bytes, version = NAMES.unpack_from(body)
    at = NAMES.size
    session_id = body[at : (at := at + session_bytes)].decode()
    origin = body[at : (at := at + origin_bytes)].decode()
    hook = body[at : (at := at + hook_bytes)].decode()
    seq, perf_ns, wall_ns = STAMP.unpack_from(body, at)
    return Event(session_id, origin, seq, hook, version, perf_ns, wall_ns, body[at + STAMP.size :].decode() or "{}")


def events_of(data: bytes, session_id: str, origin: str) -> Iterator[Event]:
    """One recorder's events in whole frames; all others are skipped undecoded."""
    names = (session_id + origin).encode()
    found = data.find(names)
    while found >= 0:
        start = found - NAMES.size
        size, checksum = FRAME.unpack_from(data, start - FRAME.size) if start >= FRAME.size else (0, 0)
        body = data[start : start + size]
        whole = size >= MIN_BODY and len(body) == size and zlib.crc32(body) == checksum
        if whole and (made := decode(body)).session_id == session_id and made.origin == origin:
            yield made
        found = data.find(names, start + size if whole else found + 1)


def source(body: bytes) -> tuple[str, str]:
    """The session and the origin of a body."""
    found = decode(body)
    return found.session_id, found.origin


def encode(event: Event) -> bytes:
    """The frame of an event."""
    names = [name.encode() for name in (event.session_id, event.origin, event.hook)]
    stamp = STAMP.pack(event.seq, event.perf_ns, event.wall_ns)
    return frame(NAMES.pack(*map(len, names), event.version) + b"".join(names) + stamp + event.payload.encode())


def frame(body: bytes) -> bytes:
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def body_of(frame: bytes) -> bytes:
    """The body of a frame."""
    return frame[FRAME.size :]


def bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of the whole frames at the start of ``data``; stops silently at a torn or empty one."""
    at, end = 0, len(data)
    while at + FRAME.size <= end:
        size, checksum = FRAME.unpack_from(data, at)
        at += FRAME.size
        found = data[at : at + size]
        if size < MIN_BODY or len(found) < size or zlib.crc32(found) != checksum:
            return
        yield found
        at += size
