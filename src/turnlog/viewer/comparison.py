"""The page that compares two calls, or one call under two rule sets, turn by turn."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from projections.boundary import replaying
from projections.caller import RULES as TURNLOG
from projections.compare.recordings import ROUNDING, align_speech
from projections.measures import TurnMeasures, session_row
from projections.measures.row import Speech, measures_in, speech_of
from projections.measures.turn import COMPONENTS
from projections.readings import RELEASES
from turnlog.sessions import read_session
from turnlog.stats.figures import format_value
from turnlog.stats.metrics import MEASURES, RATES, field_of
from turnlog.viewer.filters import BadFilter, choice
from turnlog.viewer.log import Log
from turnlog.viewer.pages import Params, Render, call_url

RULES = (TURNLOG, *RELEASES)
SUGGESTED = 200
"""Number of sessions that the form suggests, the newest ones."""
COMPARED = [name for name in MEASURES if name not in ("response", "e2e")]
"""Measures that are listed where they differ; the E2E latency, under ``turnlog`` the response, has a column."""
PROPERTIES = {**RATES, "tools": "tools", "reason": "no_response", **{name: name for name in (*COMPONENTS, "agent")}}
"""Other fields of `TurnMeasures` that are listed where they differ, by their name on the page."""


class Side(NamedTuple):
    """A call under a rule set."""

    session: str
    rules: str
    url: str
    turns: list[TurnMeasures]
    speech: list[Speech]

    def turn(self, number: int | None) -> tuple[TurnMeasures, Speech] | None:
        return None if number is None else (self.turns[number - 1], self.speech[number - 1])


class Difference(NamedTuple):
    name: str
    before: str
    after: str


class Pair(NamedTuple):
    """Corresponding turns; None opposite a turn without a counterpart."""

    numbers: tuple[int | None, int | None]
    urls: tuple[str, str]
    user: tuple[str, str]
    agent: tuple[str, str]
    e2e: tuple[float | None, float | None]
    differences: list[Difference]

    @property
    def change(self) -> float | None:
        before, after = self.e2e
        return None if before is None or after is None else after - before

    @property
    def other_words(self) -> list[str]:
        """Who said something else."""
        return [who for who, (before, after) in (("user", self.user), ("agent", self.agent)) if before != after]

    @property
    def changed(self) -> bool:
        same = abs(self.change) < ROUNDING if self.change is not None else self.e2e[0] == self.e2e[1]
        return None in self.numbers or bool(self.differences or self.other_words) or not same


def routes(log: Log, render: Render, rules: str) -> list[Route]:
    """The page; ``rules``: the rule set of either side if the URL names none."""

    def compare(request: Request) -> Response:
        params: Params = {name: request.query_params.getlist(name) for name in request.query_params}
        default = rules if rules in RULES else TURNLOG
        first, second = _calls(params)
        chosen = choice(params, "rules", RULES, default), choice(params, "other_rules", RULES, default)
        shown = {
            "page": "/compare",
            "rule_sets": RULES,
            "suggested": [session.session_id for session in islice(log.store.sessions(), SUGGESTED)],
            "values": {"one": first, "other": second, "rules": chosen[0], "other_rules": chosen[1]},
        }
        if not first:
            return render("compare.html", sides=None, **shown)
        sides = [_side(log, name, under) for name, under in zip((first, second), chosen, strict=True)]
        pairs = _pairs(*sides)
        return render("compare.html", sides=sides, pairs=pairs, e2e=[_percentiles(side) for side in sides], **shown)

    return [Route("/compare", compare)]


def _calls(params: Params) -> tuple[str, str]:
    """The names of both calls; empty if none is named. Raises `BadFilter`."""
    names = [name for name in (*params.get("one", ()), *params.get("other", ())) if name]
    if len(names) > 2:
        raise BadFilter(f"{len(names)} calls are selected; select two")
    return (names[0], names[-1]) if names else ("", "")


def _side(log: Log, session: str, rules: str) -> Side:
    events = read_session(log.store, session)
    with replaying(session):
        row = session_row(events, rules)
    completed = [number for number, turn in enumerate(measures_in(row, session)) if turn.turn is not None]
    turns, speech = measures_in(row, session), speech_of(row)
    return Side(session, rules, _url(session, rules), [turns[n] for n in completed], [speech[n] for n in completed])


def _url(session: str, rules: str, turn: int | None = None) -> str:
    return call_url(session, rules="" if rules == TURNLOG else rules, turn="" if turn is None else str(turn))


def _pairs(before: Side, after: Side) -> list[Pair]:
    user = ([words[0] for words in side.speech] for side in (before, after))
    known = _known(before) & _known(after) if before.rules != after.rules else _known(before) | _known(after)
    return [_pair(before, after, *numbers, known) for numbers in align_speech(*user)]


def _known(side: Side) -> set[str]:
    """The measures that some turn has. What only one rule set measures is no difference."""
    return {name for name in COMPARED if any(getattr(turn, field_of(name)) is not None for turn in side.turns)}


def _pair(before: Side, after: Side, first: int | None, second: int | None, known: set[str]) -> Pair:
    one_turn, other_turn = before.turn(first), after.turn(second)
    differences = _differences(one_turn[0], other_turn[0], known) if one_turn and other_turn else []
    both = (one_turn, other_turn)
    said = [("", "") if each is None else (each[1][0] or "", each[1][1] or "") for each in both]
    e2e = [None if each is None else each[0].e2e_ms for each in both]
    urls = [
        ""
        if number is None
        else call_url(side.session, rules="" if side.rules == TURNLOG else side.rules, turn=str(number))
        for side, number in ((before, first), (after, second))
    ]
    return Pair(
        numbers=(first, second),
        urls=(urls[0], urls[1]),
        user=(said[0][0], said[1][0]),
        agent=(said[0][1], said[1][1]),
        e2e=(e2e[0], e2e[1]),
        differences=differences,
    )


def _differences(before: TurnMeasures, after: TurnMeasures, known: set[str]) -> list[Difference]:
    found = []
    for name in (name for name in COMPARED if name in known):
        shown = [format_value(getattr(turn, field_of(name)), MEASURES[name]) for turn in (before, after)]
        if shown[0] != shown[1]:  # what is rounded alike is no difference that anyone could see
            found.append(Difference(name, *shown))
    for name, field in PROPERTIES.items():
        values = [getattr(turn, field) for turn in (before, after)]
        if values[0] != values[1]:
            found.append(Difference(name.replace("_", " "), *map(_plain, values)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)


def _percentiles(side: Side) -> dict[str, float | None]:
    values = [turn.e2e_ms for turn in side.turns if turn.e2e_ms is not None]
    p50, p95 = np.quantile(values, (0.50, 0.95)).tolist() if values else (None, None)
    return {"p50": p50, "p95": p95}
