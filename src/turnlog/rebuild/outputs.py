"""What a rebuild can write: the columns of each output, and the rows of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec
import pyarrow

from eventstore.codec import clocks, decode
from eventstore.event import Event
from projections.caller import Reading
from projections.measures.session import measures_of, measures_of_call
from projections.measures.turn import TurnMeasures
from projections.reference.replay import Call, call_dict
from projections.spans import identities
from turnlog.terminal import json_text

Row = tuple[Any, ...]
_ARROW = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}


class Output(NamedTuple):
    """A kind of file that a rebuild writes."""

    schema: pyarrow.Schema
    rows: Callable[[Reading | Call, Sequence[Event]], Iterator[Row]]
    """The rows of a session, from its reading and its events."""


def _turn_fields() -> Iterator[tuple[str, Any]]:
    """The measures of a turn with their types, as Arrow has them."""
    for name, hint in get_type_hints(TurnMeasures).items():
        (kind,) = [each for each in get_args(hint) or (hint,) if each is not NoneType]
        yield name, _ARROW[kind]


def _turns(call: Reading | Call, _events: Sequence[Event]) -> Iterator[Row]:
    if isinstance(call, Reading):
        measured = measures_of(call)
        said = [(exchange.words or None, exchange.answer or None) for exchange in call.exchanges]
    else:
        measured = measures_of_call(call)
        turns = [*call.turns, *(turn for turn, _reason, _at in call.discarded)]
        said = [(_text(turn.user_speech), _text(turn.agent_speech)) for turn in turns]
    for turn, (user, agent) in zip(measured, said, strict=True):
        yield (*map(_plain, msgspec.structs.astuple(turn)), _plain(user), _plain(agent))


def _payloads(call: Reading | Call, _events: Sequence[Event]) -> Iterator[Row]:
    for number, payload in enumerate(call.payloads, 1):
        yield call.session_name, number, json_text(payload, indent=False)


def _spans(call: Reading | Call, _events: Sequence[Event]) -> Iterator[Row]:
    if isinstance(call, Reading):
        ids = identities(call.session_name, call.spans)
        for span in call.spans:
            parent = ids[span.parent][1] if span.parent is not None else None
            known = call.session_name, *ids[span.id], parent, _plain(span.name), span.start_ns, span.end_ns
            yield *known, json_text(msgspec.to_builtins(span), indent=False)
        return
    for span in call_dict(call)["spans"]:
        yield call.session_name, None, None, None, _plain(span["name"]), None, None, json_text(span, indent=False)


def _events(_call: Reading | Call, events: Sequence[Event]) -> Iterator[Row]:
    for number, event in enumerate(events):
        arguments = json_text(decode(event), indent=False)
        yield event.session_id, number, event.origin, event.seq, event.hook, clocks(event)[1], arguments


def _text(words: object) -> str | None:
    return words if isinstance(words, str) and words else None


def _plain(value: Any) -> Any:
    """The value, without the lone surrogates that JSON allows and UTF-8 does not."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _schema(**types: Any) -> pyarrow.Schema:
    return pyarrow.schema(list(types.items()))


_TEXT, _INT = pyarrow.string(), pyarrow.int64()
OUTPUTS: dict[str, Output] = {
    "turns": Output(_schema(**dict(_turn_fields()), user_speech=_TEXT, agent_speech=_TEXT), _turns),
    "payloads": Output(_schema(session=_TEXT, turn=_INT, payload=_TEXT), _payloads),
    "spans": Output(
        _schema(
            session=_TEXT,
            trace_id=_TEXT,
            span_id=_TEXT,
            parent_id=_TEXT,
            name=_TEXT,
            start_ns=_INT,
            end_ns=_INT,
            span=_TEXT,
        ),
        _spans,
    ),
    "events": Output(
        _schema(session=_TEXT, number=_INT, origin=_TEXT, seq=_INT, hook=_TEXT, at_ns=_INT, arguments=_TEXT), _events
    ),
}
"""By name. ``turns`` has the measures of `TurnMeasures`; ``events`` is the canonical order, with effective times and
arguments of the current schema; times in ``…_ns`` are nanoseconds since the epoch."""
