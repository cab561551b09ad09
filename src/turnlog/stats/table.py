"""A table of the turns of many sessions, in columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.errors import TurnlogError
from projections.caller import RULES as TURNLOG
from projections.measures import SessionRow
from projections.measures.row import FIELDS, TEXTS, labels_of
from projections.measures.turn import COMPONENTS
from turnlog.stats.metrics import SHARE_OF, field_of

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.float64]]
    Choice = np.ndarray[Any, np.dtype[np.int64]]
    """A selection of turns, as indices into the table; or a number for each turn."""


class MissingExtra(TurnlogError):
    """The libraries for statistics are not installed."""


def need_libraries() -> None:
    """Raise `MissingExtra` unless numpy, scipy and plotext are installed."""
    for name in ("numpy", "plotext", "scipy"):
        if find_spec(name) is None:  # importing it takes long, and not all are needed
            raise MissingExtra(f"statistics need the extra: pip install 'turnlog[stats]' (there is no {name})")


GROUPS = ("session", "day", "version", "agent", "provider", "model", *COMPONENTS)
"""Keys that turns can be grouped by; days are in UTC."""
_STACKS = {"provider": 0, "model": 2}
"""Groups by a part of every component's label, which is ``provider/model``."""
_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400


class Columns(NamedTuple):
    """The turns of many sessions, one session after the other; from rows, or from a file that has columns."""

    sessions: Sequence[str]
    turns: Sequence[int]
    """Number of turns of each session."""
    voices: Sequence[int]
    """Number of voices of each session that belong to no question."""
    numbers: Mapping[str, Numbers]
    """By field of `TurnMeasures`: the number of each turn, NaN if there is none."""
    texts: Mapping[str, Choice]
    """By field of `TurnMeasures`: the text of each turn as an index into the labels, -1 if there is none."""
    labels: Sequence[str]


def columns_of(rows: Iterable[tuple[str, SessionRow]]) -> Columns:
    """The columns of sessions' rows, which have numbers and labels."""
    import numpy as np

    sessions, turns, voices, packed = [], [], [], []
    labels: dict[str, int] = {}
    codes: list[int] = []
    """Labels of sessions, one after the other, as indices into those of all sessions."""
    starts: list[tuple[int, int]] = []
    known: dict[bytes, tuple[int, int]] = {}
    """Where the codes of labels begin, and how many they are; most sessions have the same ones."""
    for name, row in rows:
        sessions.append(name)
        turns.append(row.turns)
        voices.append(row.voices)
        packed.append(row.numbers)
        if row.labels not in known:
            own = labels_of(row)[1]
            known[row.labels] = len(codes), len(own)
            codes += [labels.setdefault(label, len(labels)) for label in own]
        starts.append(known[row.labels])
    matrix = np.frombuffer(b"".join(packed), "<f8").reshape(-1, len(FIELDS))
    matrix = np.where(np.isinf(matrix), np.nan, matrix)
    columns = dict(zip(FIELDS, np.ascontiguousarray(matrix.T), strict=True))
    start, count = np.repeat(np.array(starts, np.int64).reshape(-1, 2), turns, axis=0).T
    code = np.array(codes, np.int64)

    def text(column: Numbers) -> Choice:
        there = (column >= 0) & (column < count)  # neither NaN nor an index without a label
        found = np.full(len(column), -1, np.int64)
        found[there] = code[start[there] + column[there].astype(np.int64)]
        return found

    texts = {name: text(columns.pop(name)) for name in FIELDS if name in TEXTS}
    return Columns(sessions, turns, voices, columns, texts, list(labels))


def _whole(values: Numbers) -> Choice:
    """The values as integers, 0 for NaN; those of forged rows are limited."""
    import numpy as np

    found: Choice = np.clip(np.nan_to_num(values), -(2.0**62), 2.0**62).astype(np.int64)
    return found


class TurnTable:
    """The table: columns, and a choice of turns by what they have in common."""

    def __init__(self, columns: Columns, by: str | None = None, rules: str = TURNLOG) -> None:
        """``by``: one of `GROUPS`."""
        import numpy as np

        self.by = by
        self.rules = rules
        self.sessions = len(columns.sessions)
        self._columns = columns
        turn, at = columns.numbers["turn"], columns.numbers["at"]
        self._number: Choice = np.where(np.isnan(turn), -1 - _whole(at), _whole(turn))
        """Turn number; for a discarded turn -1 minus the index of the event that discarded it."""
        self._session: Choice = np.repeat(np.arange(self.sessions), np.asarray(columns.turns, np.int64))

    def __len__(self) -> int:
        return len(self._number)

    def groups(self) -> Iterator[tuple[str, Choice]]:
        """The groups by name, each with its turns."""
        import numpy as np

        found: dict[str, list[Choice]] = {}
        keys = self._keys()
        kinds, group = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(group.reshape(-1), kind="stable")
        starts = np.searchsorted(group.reshape(-1)[order], np.arange(len(kinds)))
        chosen = np.split(order, starts[1:]) if len(kinds) else []
        for kind, turns in zip(kinds, chosen, strict=True):
            found.setdefault(self._name(kind.tolist()), []).append(turns)
        for name in sorted(found):
            yield name, np.sort(np.concatenate(found[name]))

    def _keys(self) -> Choice:
        """For each turn a row of the numbers that make its group."""
        import numpy as np

        if self.by == "session":
            return self._session.reshape(-1, 1)
        if self.by == "day":
            days = np.floor(self._columns.numbers["opened_at"] / _DAY)
            return _whole(np.nan_to_num(days, nan=-_EPOCH)).reshape(-1, 1)
        fields = COMPONENTS if self.by in _STACKS else (self.by or "",)
        return np.stack([self._columns.texts[name] for name in fields], axis=1)

    def _name(self, key: list[int]) -> str:
        """The name of the group with this row of `_keys`."""
        if self.by == "session":
            return self._columns.sessions[key[0]]
        if self.by == "day":
            day = key[0] + _EPOCH
            return date.fromordinal(day).isoformat() if 0 < day <= date.max.toordinal() else ""
        labels = [self._columns.labels[code] if code >= 0 else "" for code in key]
        if self.by in _STACKS:
            labels = [label.partition("/")[_STACKS[self.by]] for label in labels]
        return " + ".join(filter(None, labels))

    def all_turns(self) -> Choice:
        import numpy as np

        return np.arange(len(self))

    def completed(self, chosen: Choice) -> Choice:
        """The completed turns among ``chosen``."""
        return chosen[self._number[chosen] > 0]

    def column(self, measure: str) -> Numbers:
        """The measure's value for each turn, NaN if not measured."""
        return self._columns.numbers[field_of(measure)]

    def share_of(self, rate: str, chosen: Choice) -> Choice:
        """The turns among ``chosen`` that the rate is a share of."""
        field = SHARE_OF.get(rate)
        return chosen if field is None else chosen[self._columns.numbers[field][chosen] > 0]

    def reasons(self, chosen: Choice) -> dict[str, int]:
        """Reasons of missing responses with their counts, the most frequent first."""
        import numpy as np

        codes = self._columns.texts["no_response"][chosen]
        found, counts = np.unique(codes[codes >= 0], return_counts=True)
        named = [(self._columns.labels[code], n) for code, n in zip(found.tolist(), counts.tolist(), strict=True)]
        return dict(sorted(named, key=lambda pair: (-pair[1], pair[0])))

    def voices_of(self, chosen: Choice | None) -> int:
        """Number of utterances that belong to no question, in all sessions or in those of the turns."""
        import numpy as np

        voices = np.asarray(self._columns.voices, np.int64)
        return int((voices if chosen is None else voices[np.unique(self._session[chosen])]).sum())

    def sessions_of(self, chosen: Choice) -> int:
        """Number of sessions that the turns are from."""
        import numpy as np

        return len(np.unique(self._session[chosen]))

    def where(self, index: int) -> tuple[str, int]:
        """A turn's session and number; see ``_number`` for discarded ones."""
        return self._columns.sessions[int(self._session[index])], int(self._number[index])

    def parts(self, index: int, measures: Sequence[str]) -> dict[str, float]:
        """The turn's values of the measures, as far as measured."""
        found = {name: float(self.column(name)[index]) for name in measures}
        return {name: value for name, value in found.items() if not math.isnan(value)}
