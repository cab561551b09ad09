"""A columnar table of the turns of many sessions; it takes a few hundred bytes per turn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from eventstore.errors import TurnlogError
from projections.caller import RULES as TURNLOG
from projections.measures import TurnMeasures
from turnlog.stats.metrics import MEASURES, RATES, SHARE_OF, field_of

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.float64]]
    Choice = np.ndarray[Any, np.dtype[np.int64]]
    """A selection of turns, as indices into the table."""


class MissingExtra(TurnlogError):
    """The libraries for statistics are not installed."""


def need_libraries() -> None:
    """Raise `MissingExtra` unless numpy, scipy and plotext are installed."""
    try:
        import numpy  # noqa: F401
        import plotext  # noqa: F401
        import scipy  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra(f"statistics need the extra: pip install 'turnlog[stats]' ({error})") from error


def _stack(part: int) -> Callable[[TurnMeasures], str]:
    """A label of each component's provider (0) or model (1)."""

    def label(turn: TurnMeasures) -> str:
        names = [provider.partition("/")[::2][part] for provider in (turn.stt, turn.llm, turn.tts, turn.realtime)]
        return " + ".join(name for name in names if name)

    return label


def _day(turn: TurnMeasures) -> str:
    return datetime.fromtimestamp(turn.opened_at, UTC).date().isoformat()


GROUPS: dict[str, Callable[[TurnMeasures], str]] = {
    "session": lambda turn: turn.session,
    "day": _day,
    "version": lambda turn: turn.version,
    "agent": lambda turn: turn.agent,
    "provider": _stack(0),
    "model": _stack(1),
    "stt": lambda turn: turn.stt,
    "llm": lambda turn: turn.llm,
    "tts": lambda turn: turn.tts,
    "realtime": lambda turn: turn.realtime,
}
"""Keys that turns can be grouped by; days are in UTC."""

_FIELDS = [*map(field_of, (*MEASURES, *RATES)), *SHARE_OF.values()]
_VALUES = attrgetter(*_FIELDS)
_NAN = float("nan")


class TurnTable:
    """The table. Sessions are added one by one; then columns are read."""

    def __init__(self, by: str | None = None, rules: str = TURNLOG) -> None:
        self.by = by
        self.rules = rules
        self.sessions = 0
        self._label = GROUPS[by] if by is not None else None
        self._groups: dict[str, int] = {}
        self._names: list[str] = []
        self._session = array("q")
        self._number = array("q")
        """Turn number; for a discarded turn -1 minus the index of the event that discarded it."""
        self._group = array("q")
        self._columns = {field: array("d") for field in _FIELDS}
        self._reason = array("b")
        """Reason of a missing response, as an index into ``_reasons``; -1 if there is a response."""
        self._reasons: dict[str, int] = {}
        self._voices = array("q")
        """By session: number of utterances that belong to no question."""

    def add(self, session: str, turns: Iterable[TurnMeasures], voices: int = 0) -> None:
        """Add a session's turns, as `projections.measures.measures` returns them: all, or none if one is invalid."""
        rows = list(map(self._row, turns))
        self.sessions += 1
        self._names.append(session)
        self._voices.append(voices)
        for number, label, reason, values in rows:
            self._session.append(len(self._names) - 1)
            self._number.append(number)
            self._group.append(self._groups.setdefault(label, len(self._groups)))
            self._reason.append(-1 if reason is None else self._reasons.setdefault(reason, len(self._reasons)))
            for column, value in zip(self._columns.values(), values, strict=True):
                column.append(value)

    def _row(self, turn: TurnMeasures) -> tuple[int, str, str | None, list[float]]:
        number = turn.turn if turn.turn is not None else -1 - (turn.at or 0)
        numbers = [_NAN if value is None else float(value) for value in _VALUES(turn)]
        return number, self._label(turn) if self._label is not None else "", turn.no_response, numbers

    def __len__(self) -> int:
        return len(self._number)

    def groups(self) -> Iterator[tuple[str, Choice]]:
        """The groups by name, each with its turns."""
        import numpy as np

        group = np.asarray(self._group)
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], range(len(self._groups)))
        chosen = np.split(order, starts[1:]) if len(starts) else []
        yield from sorted(zip(self._groups, chosen, strict=True), key=lambda pair: pair[0])

    def all_turns(self) -> Choice:
        import numpy as np

        return np.arange(len(self))

    def completed(self, chosen: Choice) -> Choice:
        """The completed turns among ``chosen``."""
        import numpy as np

        return chosen[np.asarray(self._number)[chosen] > 0]

    def column(self, measure: str) -> Numbers:
        """The measure's value for each turn, NaN if not measured."""
        import numpy as np

        return np.asarray(self._columns[field_of(measure)])

    def share_of(self, rate: str, chosen: Choice) -> Choice:
        """The turns among ``chosen`` that the rate is a share of."""
        import numpy as np

        field = SHARE_OF.get(rate)
        return chosen if field is None else chosen[np.asarray(self._columns[field])[chosen] > 0]

    def reasons(self, chosen: Choice) -> dict[str, int]:
        """Reasons of missing responses with their counts, the most frequent first."""
        import numpy as np

        found = np.asarray(self._reason)[chosen]
        counts = [(name, int((found == index).sum())) for name, index in self._reasons.items()]
        return dict(sorted(((name, n) for name, n in counts if n), key=lambda pair: (-pair[1], pair[0])))

    def voices_of(self, chosen: Choice | None) -> int:
        """Number of utterances that belong to no question, in all sessions or in those of the turns."""
        import numpy as np

        voices = np.asarray(self._voices)
        return int((voices if chosen is None else voices[np.unique(np.asarray(self._session)[chosen])]).sum())

    def sessions_of(self, chosen: Choice) -> int:
        """Number of sessions that the turns are from."""
        import numpy as np

        return len(np.unique(np.asarray(self._session)[chosen]))

    def where(self, index: int) -> tuple[str, int]:
        """A turn's session and number; see ``_number`` for discarded ones."""
        return self._names[self._session[index]], self._number[index]

    def parts(self, index: int, measures: Sequence[str]) -> dict[str, float]:
        """The turn's values of the measures, as far as measured."""
        found = {name: self._columns[field_of(name)][index] for name in measures}
        return {name: value for name, value in found.items() if not math.isnan(value)}
