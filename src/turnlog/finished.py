"""What the fold of a live session leaves behind: finished turns, kept small, and lists that keep nothing."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable
from typing import Any, Self

from projections.reference.metrics import Turn

CHUNK = 64
"""How many turns are compressed together."""


class FinishedTurns:
    """Completed turns in the place of a state's list: a fold appends to it and takes its length.

    No event changes a completed turn. In memory and not in a file, as content would lie there in the clear.
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
        """All of them, in order."""
        found = [turn for chunk in self._chunks for turn in pickle.loads(zlib.decompress(chunk))]
        return found + self._latest


class Unkept(list[Any]):
    """A list that stays empty, whatever is added."""

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Iterable[Any]) -> None:
        pass

    def __iadd__(self, _items: Iterable[Any]) -> Self:  # type: ignore[misc]  # as list has it
        return self
