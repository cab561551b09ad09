"""Memory-saving lists for the fold of a live session: compressed finished turns, and a list that stays empty."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable
from typing import Any, Self

from projections.reference.metrics import Turn

CHUNK = 64
"""Number of turns compressed together."""


class FinishedTurns:
    """Completed turns, compressed; replaces the state's list, to which a fold only appends and whose length it reads.

    No event changes a completed turn. Kept in memory, as a file would hold content unencrypted.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._latest: list[Turn] = []

    def __len__(self) -> int:
        return CHUNK * len(self._chunks) + len(self._latest)

    def append(self, turn: Turn) -> None:
        self._latest.append(turn)
        if len(self._latest) == CHUNK:
            self._chunks.append(zlib.compress(pickle.dumps(self._latest, pickle.HIGHEST_PROTOCOL), 1))
            self._latest = []

    def turns(self) -> list[Turn]:
        """All turns in order."""
        found = [turn for chunk in self._chunks for turn in pickle.loads(zlib.decompress(chunk))]  # noqa: S301 - a copy of our own state, never from outside
        return found + self._latest


class DiscardingList(list[Any]):
    """A list that discards everything added to it."""

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Iterable[Any]) -> None:
        pass

    def __iadd__(self, _items: Iterable[Any]) -> Self:  # type: ignore[misc]  # as list has it
        return self
