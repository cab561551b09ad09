"""The page of statistics: distribution, percentiles over time, and figures by group, with links to the calls."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from projections.caller import RULES as TURNLOG
from projections.readings import RELEASES
from turnlog.stats.figures import Figure, figure
from turnlog.stats.metrics import MEASURES, METRICS
from turnlog.stats.table import GROUPS
from turnlog.viewer.calls import Matching
from turnlog.viewer.charts import histogram, over_time, scale
from turnlog.viewer.filters import BadFilter, Filter, choice, filter_of, form, one, params_of
from turnlog.viewer.log import Log
from turnlog.viewer.pages import Params, Render, link

BY = tuple(name for name in GROUPS if name != "session")
RULES = (TURNLOG, *RELEASES)
TITLES = {"stt": "STT", "llm": "LLM", "tts": "TTS", "realtime": "realtime model"}
"""Names of groupings as people write them, where they differ."""
SHOWN = 60
"""Maximum number of groups in the table."""
PERCENTILES = ("p50", "p95", "p99", "max")
RATES = ("unanswered", "interruption", "error")


class Group(NamedTuple):
    """Turns with something in common; positions are percentages of the widest group's p95."""

    name: str
    url: str
    """The list of their calls; empty if the list cannot select them."""
    figures: dict[str, Figure]
    """By metric, such as ``p95`` and ``unanswered``."""
    marks: dict[str, float]


def routes(log: Log, render: Render, rules: str) -> list[Route]:
    """The page; ``rules``: the rule set of a page whose URL names none."""

    def statistics(request: Request) -> Response:
        params = params_of(request, "by", "rules")
        fields = {"measures": MEASURES, "groupings": BY, "rule_sets": RULES, "page": "/statistics"}
        try:
            wanted = filter_of(params)
            by = choice(params, "by", BY, "model")
            under = choice(params, "rules", RULES, rules if rules in RULES else TURNLOG)
        except BadFilter as error:
            shown = {"measure": "response", "by": "model", "rules": TURNLOG, "error": str(error)}
            return render("statistics.html", 400, **fields, **shown, **_form(params, Filter()))
        if under != TURNLOG and not one(params, "measure"):
            wanted = wanted._replace(measure="e2e")  # under a framework's rules there is no response
        found, listed = log.matching(wanted, under), {**params, "by": [], "rules": []}
        column = found.table.column(wanted.measure)[found.chosen]
        return render(
            "statistics.html",
            **fields,
            measure=wanted.measure,
            by=by,
            title=TITLES.get(by, by),
            rules=under,
            error="",
            unit=MEASURES[wanted.measure],
            calls=found.table.sessions_of(found.chosen),
            whole=_figures(found, wanted.measure, found.chosen),
            distribution=histogram(column[~np.isnan(column)], wanted.measure, listed),
            chart=over_time(found, listed, wanted.measure, intervals=True),
            groups=_groups(found, wanted.measure, by, listed),
            shown=SHOWN,
            **_form(params, wanted),
        )

    return [Route("/statistics", statistics)]


def _form(params: Params, wanted: Filter) -> dict[str, Any]:
    return form("/statistics", params, wanted, "measure", "by", "rules")


def _figures(found: Matching, measure: str, turns: Any) -> dict[str, Figure]:
    names = {name: f"{measure}.{name}" for name in PERCENTILES} | {name: f"{name}.rate" for name in RATES}
    return {short: figure(found.table, METRICS[name], turns) for short, name in names.items()}


def _groups(found: Matching, measure: str, by: str, params: Params) -> list[Group]:
    """The groups with the most turns, largest first."""
    of_groups = sorted(found.groups(by), key=lambda pair: (-len(pair[1]), pair[0]))[:SHOWN]
    figures = {name: _figures(found, measure, turns) for name, turns in of_groups}
    largest = [each["p95"].high or each["p95"].value or 0.0 for each in figures.values()]
    most = scale(max(largest, default=0.0))[-1].value
    return [Group(name, _url(by, name, params), each, _marks(each, most)) for name, each in figures.items()]


def _marks(figures: dict[str, Figure], most: float) -> dict[str, float]:
    p50, p95 = figures["p50"], figures["p95"]
    values = {"p50": p50.value, "p95": p95.value, "low": p95.low, "high": p95.high}
    return {name: 100 * value / most for name, value in values.items() if value is not None}


def _url(by: str, name: str, params: Params) -> str:
    if not name:
        return ""
    if by != "day":
        return link("/", {**params, by: [name]})
    after = date.fromisoformat(name) + timedelta(days=1)
    return link("/", {**params, "since": [f"{name}T00:00"], "until": [f"{after.isoformat()}T00:00"]})
