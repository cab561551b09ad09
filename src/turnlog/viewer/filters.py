"""Filters of the list of sessions and of statistics, as the URL has them."""

from __future__ import annotations

import math
from typing import NamedTuple

from eventstore.errors import TurnlogError
from turnlog.sessions import BadDate, parse_date_ns
from turnlog.viewer.pages import Params

HAVING = {"errors": "errors", "interruptions": "interruptions", "no-response": "no response"}
"""Values of ``with`` and their names on the page."""
LABELS = ("framework", "version", "agent", "provider", "model", "stt", "llm", "tts", "realtime")
"""Parameters that name a property of calls or turns."""
NAMES = ("since", "until", "text", "slower", "faster", "with", *LABELS)


class BadFilter(TurnlogError):
    """A parameter of the URL is malformed."""


class Filter(NamedTuple):
    """A selection of sessions."""

    since_ns: int | None = None
    until_ns: int | None = None
    """Start of the session, in nanoseconds since the epoch: from the one, before the other."""
    text: str = ""
    """Text that was said in the call; case is ignored."""
    slower_ms: float | None = None
    faster_ms: float | None = None
    """Response of at least one turn, in milliseconds: more than the one, at most the other."""
    having: tuple[str, ...] = ()
    """What the session must have: keys of `HAVING`."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names out of `LABELS`, with the value that a turn must have; the framework is the session's."""

    @property
    def about_turns(self) -> bool:
        """Whether it selects turns, and not only sessions."""
        labels = any(name != "framework" for name, _value in self.labels)
        return labels or self.slower_ms is not None or self.faster_ms is not None

    @property
    def is_open(self) -> bool:
        """Whether every session of its time matches, whatever is in it."""
        return self[2:] == Filter()[2:]


def filter_of(params: Params) -> Filter:
    """The filter of a URL. Raises `BadFilter`, naming the parameter."""
    having = tuple(dict.fromkeys(params.get("with", ())))
    for name in having:
        if name not in HAVING:
            raise BadFilter(f"with: {name!r} is unknown; use {', '.join(HAVING)}")
    return Filter(
        since_ns=_time(params, "since"),
        until_ns=_time(params, "until"),
        text=one(params, "text").strip(),
        slower_ms=_milliseconds(params, "slower"),
        faster_ms=_milliseconds(params, "faster"),
        having=having,
        labels=tuple((name, one(params, name)) for name in LABELS if one(params, name)),
    )


def one(params: Params, name: str) -> str:
    """The last value of a parameter; empty if there is none."""
    return params[name][-1] if params.get(name) else ""


def number(params: Params, name: str, default: int, most: int) -> int:
    """A whole number from 1 to ``most``. Raises `BadFilter`."""
    text = one(params, name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise BadFilter(f"{name}: {text!r} is not a whole number from 1 to {most:,}")
    return int(text)


def _time(params: Params, name: str) -> int | None:
    text = one(params, name).strip()
    try:
        return parse_date_ns(text) if text else None
    except BadDate as error:
        raise BadFilter(f"{name}: {error}") from None


def _milliseconds(params: Params, name: str) -> float | None:
    text = one(params, name).strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise BadFilter(f"{name}: {text!r} is not a time in milliseconds")
    return value
