"""The row of a session: what lists, filters and statistics need of it, packed, with the numbers of each turn.

A turn's numbers are its `TurnMeasures` as little-endian float64, in the order of `FIELDS`; None is NaN. A text is an
index into the session's labels.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from math import isfinite
from statistics import quantiles
from typing import Any, NamedTuple

import msgspec

from eventstore.event import Event
from projections.caller import RULES as TURNLOG
from projections.caller import read
from projections.measures.session import measures_of, measures_of_call
from projections.measures.turn import COMPONENTS, TurnMeasures
from projections.readings import framework_of
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.replay import call_of
from projections.reference.rules import Rules

FIELDS = tuple(name for name in TurnMeasures.__struct_fields__ if name != "session")
"""The fields of `TurnMeasures` that a turn's numbers have, in this order."""
TEXTS = frozenset({"turn_id", "no_response", "discarded", *COMPONENTS, "agent", "version"})
"""The fields that are indices into the labels."""
_WHOLE = frozenset({"turn", "at", "tools", "errors", "fallbacks"})
_FLAGS = frozenset({"asked", "unanswered", "interrupted", "false_interruption"})
_VECTOR = struct.Struct(f"<{len(FIELDS)}d")
WIDTH = _VECTOR.size
"""Bytes a turn."""
_NAN = float("nan")

Speech = tuple[str | None, str | None]
"""What the user and the agent said in a turn."""


class SessionRow(NamedTuple):
    """A session's figures, and its turns, packed."""

    events: int
    """Number of events that were read."""
    turns: int
    """Number of turns; under a framework's rules with those it discarded."""
    voices: int
    """Number of voices that belong to no question."""
    response_p95_ms: float | None
    """Over the turns with a response, interpolated linearly; None if there are none."""
    slowest_ms: float | None
    errors: int
    interruptions: int
    """Number of turns whose answer the user interrupted."""
    no_response: int
    """Number of questions without an answer."""
    labels: bytes
    """The framework with its version, then the texts that the turns' numbers refer to; see `labels_of`."""
    speech: bytes
    """What was said in each turn; see `speech_of`."""
    numbers: bytes
    """Numbers of each turn, one after the other."""


_TYPES = {
    (int, int, int, p95, slowest, int, int, int, bytes, bytes, bytes)
    for p95 in (float, type(None))
    for slowest in (float, type(None))
}
"""The types that a row's values can have."""


def session_row(events: Iterable[Event], rules: str | Rules = TURNLOG) -> SessionRow:
    """The row of a session. Raises the same errors as `projections.measures.session_measures`."""
    events = list(events)
    framework = " ".join(filter(None, framework_of(events)))
    if rules == TURNLOG:
        found = read(events)
        voices = sum(left.activity.kind == "voice" for left in found.assembly.unassigned)
        errors = sum(left.activity.kind == "error" for left in found.assembly.unassigned)
        said: list[Speech] = [(x.words or None, x.answer or None) for x in found.exchanges]
        return pack(measures_of(found), said, len(events), framework, voices=voices, errors=errors)
    call = call_of(fold(begin(rule_sets.find_rules(rules), spans=False, signals=False), events))
    turns = [*call.turns, *(turn for turn, _reason, _at in call.discarded)]
    return pack(
        measures_of_call(call), [(_said(t.user_speech), _said(t.agent_speech)) for t in turns], len(events), framework
    )


def pack(
    turns: Sequence[TurnMeasures],
    speech: Sequence[Speech] = (),
    events: int = 0,
    framework: str = "",
    *,
    voices: int = 0,
    errors: int = 0,
) -> SessionRow:
    """The row of a session with these turns; ``errors`` counts those that belong to no turn."""
    codes: dict[str, int] = {}
    numbers = b"".join(_VECTOR.pack(*(_number(turn, name, codes) for name in FIELDS)) for turn in turns)
    responses = [turn.response_ms for turn in turns if turn.response_ms is not None]
    return SessionRow(
        events=events,
        turns=len(turns),
        voices=voices,
        response_p95_ms=_p95(responses),
        slowest_ms=max(responses, default=None),
        errors=errors + sum(turn.errors for turn in turns),
        interruptions=sum(bool(turn.interrupted) for turn in turns),
        no_response=sum(bool(turn.unanswered) for turn in turns),
        labels=_pack_texts((framework, *codes)),
        speech=_pack_texts([words for each in speech for words in each]),
        numbers=numbers,
    )


def is_decodable(row: SessionRow, parts: Collection[str]) -> bool:
    """Whether the figures, and these of labels, speech and numbers, can be decoded: a stored row may be damaged."""
    if tuple(map(type, row)) not in _TYPES or ("numbers" in parts and len(row.numbers) != row.turns * WIDTH):
        return False
    try:
        return ("labels" not in parts or bool(_unpack_labels(row.labels))) and (
            "speech" not in parts or len(_unpack_texts(row.speech)) == 2 * row.turns
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def labels_of(row: SessionRow) -> tuple[str, list[str]]:
    """The framework, and the texts that the numbers refer to."""
    framework, *labels = _unpack_labels(row.labels)
    return framework, labels


def speech_of(row: SessionRow) -> list[Speech]:
    """What was said in each turn."""
    words = _unpack_texts(row.speech)
    return list(zip(words[::2], words[1::2], strict=True))


def measures_in(row: SessionRow, session: str) -> list[TurnMeasures]:
    """The measures that the row was made of; a count that is not of ``_WHOLE`` comes back as a float.

    A number that `pack` never makes (an infinite one, or an index without a label) is None.
    """
    _framework, labels = labels_of(row)
    return [
        TurnMeasures(session=session, **{n: _value(n, v, labels) for n, v in zip(FIELDS, vector, strict=True)})
        for vector in _VECTOR.iter_unpack(row.numbers)
    ]


def _number(turn: TurnMeasures, name: str, codes: dict[str, int]) -> float:
    value = getattr(turn, name)
    if value is None:
        return _NAN
    return codes.setdefault(value, len(codes)) if name in TEXTS else float(value)


def _value(name: str, number: float, labels: list[str]) -> Any:
    if not isfinite(number):
        return None
    if name in TEXTS:
        return labels[int(number)] if 0 <= number < len(labels) else None
    return int(number) if name in _WHOLE else bool(number) if name in _FLAGS else number


def _said(words: object) -> str | None:
    return words if isinstance(words, str) and words else None


def _p95(values: list[float]) -> float | None:
    return quantiles(values, n=20, method="inclusive")[18] if len(values) > 1 else next(iter(values), None)


# As bytes, since MessagePack refuses lone surrogates, which JSON may have.
def _pack_texts(texts: Iterable[str | None]) -> bytes:
    return msgspec.msgpack.encode([None if text is None else text.encode("utf-8", "surrogatepass") for text in texts])


@lru_cache(maxsize=1024)  # most sessions have the same ones
def _unpack_labels(data: bytes) -> tuple[str, ...]:
    return tuple(label or "" for label in _unpack_texts(data))


def _unpack_texts(data: bytes) -> list[str | None]:
    texts = msgspec.msgpack.decode(data, type=list[bytes | None])
    return [None if text is None else text.decode("utf-8", "surrogatepass") for text in texts]
