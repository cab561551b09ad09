"""Numbers and texts that carry their sources through arithmetic.

The functions that compute a turn are run on activities whose fields are such values; their results then carry their
sources. So provenance needs no second implementation, which could differ.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from projections.timeline import Activity


class Source(NamedTuple):
    """A field of an activity, or of the exchange if ``activity`` is None, with the events that set it."""

    activity: Activity | None
    field: str
    """``start``, ``first``, ``end``, ``status``, ``id``, or a key of `Activity.data`; else ``words``, ``opened`` …"""
    events: tuple[int, ...]
    """Indices of the events that set the field."""
    value: Any
    """Times are nanoseconds on the session's clock."""


class SourcedInt(int):
    sources: tuple[Source, ...]


class SourcedFloat(float):
    sources: tuple[Source, ...]


class SourcedText(str):  # noqa: SLOT000 - its attributes are what it is for
    sources: tuple[Source, ...]


def sources_of(value: Any) -> tuple[Source, ...]:
    """The sources of a value, in order of use; empty if it carries none."""
    found: tuple[Source, ...] = getattr(value, "sources", ())
    return found


def strip_sources(value: Any) -> Any:
    """The value without sources, also in nested lists and dicts."""
    if isinstance(value, dict):
        return {key: strip_sources(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strip_sources(item) for item in value]
    if isinstance(value, SourcedInt):
        return int(value)
    if isinstance(value, SourcedFloat):
        return float(value)
    return str.__str__(value) if isinstance(value, SourcedText) else value


def attach_sources(value: Any, *sources: Source) -> Any:
    """The value with these sources, also in nested lists and dicts; bools and None cannot carry any."""
    if isinstance(value, dict):
        return {key: attach_sources(item, *(s._replace(value=item) for s in sources)) for key, item in value.items()}
    if isinstance(value, list):
        return [attach_sources(item, *(s._replace(value=item) for s in sources)) for item in value]
    kind = {int: SourcedInt, float: SourcedFloat, str: SourcedText}.get(type(value))
    if kind is None:
        return value
    found = kind(value)
    found.sources = tuple({(id(source.activity), source[1:3]): source for source in sources}.values())
    return found


def _propagate(function: Callable[..., Any], *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        values = [strip_sources(self), *map(strip_sources, others)]
        result = function(*reversed(values)) if reflected else function(*values)
        return attach_sources(result, *sources_of(self), *(s for other in others for s in sources_of(other)))

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv"):
    for _kind in (SourcedInt, SourcedFloat):
        _function = getattr(operator, _name)
        setattr(_kind, f"__{_name}__", _propagate(_function))
        setattr(_kind, f"__r{_name}__", _propagate(_function, reflected=True))
SourcedFloat.__round__ = _propagate(round)  # type: ignore[method-assign]

_SET_TOGETHER = {
    "status": "end", "end_reported": "end", "reported": "end", "transcript": "end", "confidence": "end",
    "duration": "end", "documents": "end", "scores": "end", "retrievals": "end", "response": "end", "armed": "start",
    "usage": "tokens", "interims": "first", "cut": "end",
}  # fmt: skip
"""Fields without sources of their own that are set by the same event as a different field."""


def with_sources(found: Activity) -> Activity:
    """A copy of the activity whose values carry their sources."""
    sources = found.sources

    def of(field: str, value: Any) -> Any:
        events = sources.get(field) or sources.get(_SET_TOGETHER.get(field, "")) or sources.get("report")
        return attach_sources(value, Source(found, field, tuple(dict.fromkeys(events or [found.at])), value))

    return msgspec.structs.replace(
        found,
        start=of("start", found.start),
        first=of("first", found.first),
        end=of("end", found.end),
        status=of("status", found.status),
        id=of("id", found.id),
        data={key: of(key, value) for key, value in found.data.items()},
    )
