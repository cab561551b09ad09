"""Resynchronization in damaged journal bytes: splits them into whole frames and damaged ranges.

A damaged frame affects no other: reading resumes at the next whole frame. A frame inside the payload of another is not
an event, so a damaged frame's length is trusted if it leads exactly to a whole frame or to the end of the written
bytes. The time is linear in the number of bytes, whatever their content: the checksum of a long range is combined from
those of prefixes (as in zlib's ``crc32_combine``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple
from zlib import crc32

from eventstore.event import Event
from eventstore.recording import frames

_STEP = 4096
_LONG = 1 << 16
"""Checksums of longer ranges (bytes) are combined, not computed again."""
_POLYNOMIAL = 0xEDB88320
_WRITTEN = re.compile(rb"[^\0]")


class Piece(NamedTuple):
    """A range of the data: a whole frame with its event, or damaged bytes."""

    start: int
    stop: int
    event: Event | None
    damaged: bool = False
    """Not a whole frame; it has an event if only its length is damaged."""


def pieces(data: bytes, start: int, end: int) -> Iterator[Piece]:
    """Split the data from ``start`` to ``end`` into pieces, without trailing zeros."""
    reader = _Reader(data, start, end)
    at = start
    while (piece := reader.frame(at) or reader.damage(at)) is not None:
        yield piece
        at = piece.stop


class _Reader:
    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._data, self._checksums = data, _Checksums(data)
        self._end = start + len(data[start:end].rstrip(b"\0"))
        self._limit = end
        """Bound for frames: the last one may end in zeros, beyond `_end`."""

    def frame(self, at: int) -> Piece | None:
        """The whole frame at an offset, or None."""
        size = self._size(at)
        if not size:
            return None
        start, stop = at + frames.FRAME.size, at + frames.FRAME.size + size
        if self._checksums.range(start, stop) != frames.FRAME.unpack_from(self._data, at)[1]:
            return None
        event = _event(self._data[start:stop])
        return None if event is None else Piece(at, stop, event)

    def damage(self, at: int) -> Piece | None:
        """The damaged range at an offset; None at the end of the written bytes."""
        if at >= self._end:
            return None
        stop = self._trusted_stop(at)
        follower = self._follower(at, stop) if stop else self._next(at + 1, self._end)
        stop = stop if stop and follower is None else self._end if follower is None else follower
        return Piece(at, stop, self._repaired(at, stop), damaged=True)

    def _trusted_stop(self, at: int) -> int:
        """The end of a damaged frame by its own length; 0 if that does not lead to a frame or the end."""
        if at + frames.FRAME.size > self._limit:
            return 0
        stop: int = at + frames.FRAME.size + frames.FRAME.unpack_from(self._data, at)[0]
        if stop > at + frames.FRAME.size and (stop == self._end or self.frame(stop) is not None):
            return stop
        return 0

    def _follower(self, at: int, stop: int) -> int | None:
        """The first of whole frames that fill the range up to ``stop``: the length is damaged then."""
        found = self._next(at + 1, stop)
        while found is not None:
            reached = found
            while reached < stop and (piece := self.frame(reached)) is not None:
                reached = piece.stop
            if reached == stop:
                return found
            found = self._next(reached, stop)  # these are inside the payload
        return None

    def _next(self, start: int, stop: int) -> int | None:
        """The offset of the next whole frame, or None."""
        written = _WRITTEN.search(self._data, start, stop)
        if written is None:
            return None
        for at in range(max(start, written.start() - 3), stop):  # the low bytes of its length may be zero
            if self.frame(at) is not None:
                return at
        return None

    def _repaired(self, at: int, stop: int) -> Event | None:
        """The event of a frame of which only the length is damaged: its checksum matches up to the next frame."""
        start = at + frames.FRAME.size
        if stop - start < frames.MIN_BODY:
            return None
        if self._checksums.range(start, stop) != frames.FRAME.unpack_from(self._data, at)[1]:
            return None
        return _event(self._data[start:stop])

    def _size(self, at: int) -> int:
        """Size of the body if a frame is possible at the offset, else 0; avoids most checksums."""
        if at + frames.FRAME.size + frames.MIN_BODY > self._limit:
            return 0
        size: int = frames.FRAME.unpack_from(self._data, at)[0]
        if not frames.MIN_BODY <= size <= self._limit - at - frames.FRAME.size:
            return 0
        names = frames.NAMES.unpack_from(self._data, at + frames.FRAME.size)
        return size if sum(names[:3]) + frames.MIN_BODY <= size else 0


def _event(body: bytes) -> Event | None:
    try:
        return frames.decode(body)
    except (struct.error, UnicodeDecodeError):  # a valid checksum, but not written by us
        return None


class _Checksums:
    """CRC-32 of any range of the data in bounded time."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._prefixes: list[int] = []
        """Checksums of the data up to each multiple of `_STEP`; computed on first use."""

    def range(self, start: int, stop: int) -> int:
        if stop - start <= _LONG:
            return crc32(self._data[start:stop])
        return self._prefix(stop) ^ _shift(self._prefix(start), stop - start)

    def _prefix(self, stop: int) -> int:
        if not self._prefixes:
            self._prefixes.append(0)
            for at in range(0, len(self._data) - _STEP + 1, _STEP):
                self._prefixes.append(crc32(self._data[at : at + _STEP], self._prefixes[-1]))
        step = stop // _STEP
        return crc32(self._data[step * _STEP : stop], self._prefixes[step])


def _multiply(a: int, b: int) -> int:
    """The product of polynomials over GF(2), modulo that of CRC-32."""
    product, bit = 0, 1 << 31
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _shift(checksum: int, length: int) -> int:
    """The checksum after appending ``length`` zero bytes: a multiplication by a power of x."""
    for number in range(length.bit_length()):
        if length >> number & 1:
            table = _shift_by(number)
            checksum = (
                table[checksum & 0xFF]
                ^ table[0x100 | checksum >> 8 & 0xFF]
                ^ table[0x200 | checksum >> 16 & 0xFF]
                ^ table[0x300 | checksum >> 24]
            )
    return checksum


@cache
def _shift_by(number: int) -> list[int]:
    """Table of shifts by 2^number bytes, for each value of each of a checksum's four bytes."""
    power = _power(number)
    return [_multiply(value << 8 * place, power) for place in range(4) for value in range(256)]


@cache
def _power(number: int) -> int:
    """x^(8 · 2^number) modulo the CRC polynomial: a shift by 2^number bytes."""
    return 1 << 23 if number == 0 else _multiply(_power(number - 1), _power(number - 1))
