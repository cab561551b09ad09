"""The bytes of a recorded call before any database has seen it, and how they become an `Event` again.

A body is ``seq, perf_ns, wall_ns`` followed by the names (session, origin, hook, version) and the payload. It is
complete in itself, so journal files can be cut, dropped and recovered one by one. A frame is a body with its length
and checksum in front; a file of frames ends at the first one that is not whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from eventstore.event import Event
from eventstore.vocabulary import HOOKS

FRAME = struct.Struct("<II")
"""Length of the body, CRC-32 of the body."""
STAMP = struct.Struct("<qqq")
_NAMES = struct.Struct("<HHHH")
MAX_NAME_BYTES = 65_535


def head(session_id: str, origin: str, hook: str) -> bytes:
    """What stands between the stamp and the payload; the same for all calls of one hook by one recorder."""
    names = [name.encode() for name in (session_id, origin, hook)]
    return _NAMES.pack(*map(len, names), HOOKS[hook].version) + b"".join(names)


def frame(body: bytes) -> bytes:
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def event(body: bytes) -> Event:
    seq, perf_ns, wall_ns = STAMP.unpack_from(body)
    at = STAMP.size
    session_bytes, origin_bytes, hook_bytes, version = _NAMES.unpack_from(body, at)
    at += _NAMES.size
    names = []
    for size in (session_bytes, origin_bytes, hook_bytes):
        names.append(body[at : at + size].decode())
        at += size
    return Event(names[0], names[1], seq, names[2], version, perf_ns, wall_ns, body[at:].decode())


def bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of the whole frames at the start of ``data``; stops, silently, at a torn or an empty one."""
    at, end = 0, len(data)
    while at + FRAME.size <= end:
        size, checksum = FRAME.unpack_from(data, at)
        at += FRAME.size
        body = data[at : at + size]
        if size < STAMP.size + _NAMES.size or len(body) < size or zlib.crc32(body) != checksum:
            return
        yield body
        at += size
