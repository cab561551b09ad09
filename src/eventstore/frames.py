"""The bytes of a recorded call before any database has seen it, and how they become an `Event` again.

A body is the names (session, origin, hook, version), then ``seq, perf_ns, wall_ns``, then the payload, or nothing for a
call without arguments. It is complete in itself, so journal files can be cut, dropped and recovered one by one. A frame
is a body with its length and checksum in front; a file of frames ends at the first one that is not whole.
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
    """How every body of one hook by one recorder begins, up to the stamp."""
    names = [name.encode() for name in (session_id, origin, hook)]
    return _NAMES.pack(*map(len, names), HOOKS[hook].version) + b"".join(names)


def event(body: bytes) -> Event:
    session_bytes, origin_bytes, hook_bytes, version = _NAMES.unpack_from(body)
    at = _NAMES.size
    session_id = body[at : (at := at + session_bytes)].decode()
    origin = body[at : (at := at + origin_bytes)].decode()
    hook = body[at : (at := at + hook_bytes)].decode()
    seq, perf_ns, wall_ns = STAMP.unpack_from(body, at)
    return Event(session_id, origin, seq, hook, version, perf_ns, wall_ns, body[at + STAMP.size :].decode() or "{}")


def frame(body: bytes) -> bytes:
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def body(of: bytes) -> bytes:
    """The body of a frame."""
    return of[FRAME.size :]


def bodies(data: bytes) -> Iterator[bytes]:
    """The bodies of the whole frames at the start of ``data``; stops, silently, at a torn or an empty one."""
    at, end = 0, len(data)
    while at + FRAME.size <= end:
        size, checksum = FRAME.unpack_from(data, at)
        at += FRAME.size
        found = data[at : at + size]
        if size < _NAMES.size + STAMP.size or len(found) < size or zlib.crc32(found) != checksum:
            return
        yield found
        at += size
