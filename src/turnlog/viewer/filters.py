"""Filters of the list of sessions and of statistics, as the URL has them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from starlette.requests import Request

from eventstore.errors import TurnlogError
from turnlog.sessions import BadDate, parse_date_ns
from turnlog.stats.metrics import MEASURES
from turnlog.viewer.pages import Params, link


class Having(NamedTuple):
    title: str
    """The name on the page."""
    field: str
    """The figure of a call that must not be 0."""


HAVING = {
    "errors": Having("errors", "errors"),
    "interruptions": Having("interruptions", "interruptions"),
    "no-response": Having("no response", "unanswered"),
}
"""Values of ``with``."""
LABELS = ("framework", "version", "agent", "provider", "model", "stt", "llm", "tts", "realtime")
"""Parameters that name a property of calls or turns."""
NAMES = ("since", "until", "text", "measure", "slower", "faster", "with", *LABELS)
"""The parameters of a filter."""


class BadFilter(TurnlogError):
    """A parameter of the URL is malformed."""


class Filter(NamedTuple):
    """A selection of sessions."""

    since_ns: int | None = None
    until_ns: int | None = None
    """Start of the session, in nanoseconds since the epoch: from the one, before the other."""
    text: str = ""
    """Text that was said in the call; case is ignored."""
    measure: str = "response"
    """What ``slower`` and ``faster`` are about: a key of `turnlog.stats.metrics.MEASURES`."""
    slower: float | None = None
    faster: float | None = None
    """The measure in at least one turn: more than the one, at most the other."""
    having: tuple[str, ...] = ()
    """What the session must have: keys of `HAVING`."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names out of `LABELS`, with the value that a turn must have; the framework is the session's."""

    @property
    def about_turns(self) -> bool:
        """Whether it selects turns, and not only sessions."""
        labels = any(name != "framework" for name, _value in self.labels)
        return labels or self.slower is not None or self.faster is not None

    @property
    def is_open(self) -> bool:
        """Whether every session of its time matches, whatever is in it."""
        return self._replace(since_ns=None, until_ns=None) == Filter(measure=self.measure)


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
        measure=choice(params, "measure", MEASURES, "response"),
        slower=_number(params, "slower"),
        faster=_number(params, "faster"),
        having=having,
        labels=tuple((name, one(params, name)) for name in LABELS if one(params, name)),
    )


def params_of(request: Request, *others: str) -> Params:
    """The parameters of a filter and ``others``, without those that are empty."""
    params: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if value and name in (*NAMES, *others):
            params.setdefault(name, []).append(value)
    return params


def form(path: str, params: Params, wanted: Filter, *fields: str) -> dict[str, Any]:
    """What the form of filters on the page at ``path`` shows; ``fields`` are parameters with fields of that page."""
    shown = ("since", "until", "text", "slower", "with", "page", *fields)
    chips = {f"{name}: {value}": name for name, value in wanted.labels}
    if wanted.faster is not None:
        chips[f"{wanted.measure} at most {wanted.faster:g}"] = "faster"
    return {
        "path": path,
        "having": HAVING,
        "chosen": params.get("with", ()),
        "values": {name: one(params, name) for name in ("since", "until", "text", "slower")},
        "hidden": {name: one(params, name) for name in params if name not in shown},
        "more_than": "Slower than, ms" if wanted.measure == "response" else f"{wanted.measure} more than",
        "chips": {text: link(path, {**params, name: [], "page": []}) for text, name in chips.items()},
        "filtered": wanted != Filter(measure=wanted.measure),
    }


def one(params: Params, name: str) -> str:
    """The last value of a parameter; empty if there is none."""
    return params[name][-1] if params.get(name) else ""


def number(params: Params, name: str, default: int, most: int) -> int:
    """A whole number from 1 to ``most``. Raises `BadFilter`."""
    text = one(params, name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise BadFilter(f"{name}: {text!r} is not a whole number from 1 to {most:,}")
    return int(text)


def choice(params: Params, name: str, choices: Collection[str], default: str) -> str:
    """One of ``choices``. Raises `BadFilter`."""
    text = one(params, name) or default
    if text not in choices:
        raise BadFilter(f"{name}: {text!r} is unknown; use {', '.join(choices)}")
    return text


def _time(params: Params, name: str) -> int | None:
    text = one(params, name).strip()
    try:
        return parse_date_ns(text) if text else None
    except BadDate as error:
        raise BadFilter(f"{name}: {error}") from None


def _number(params: Params, name: str) -> float | None:
    text = one(params, name).strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise BadFilter(f"{name}: {text!r} is not a number from 0 on")
    return value
