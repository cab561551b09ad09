"""The page with the list of sessions."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from turnlog.stats.metrics import MEASURES
from turnlog.viewer.calls import Call
from turnlog.viewer.charts import over_time
from turnlog.viewer.filters import BadFilter, Filter, filter_of, form, number, one, params_of
from turnlog.viewer.log import Log
from turnlog.viewer.pages import Params, Render, link

SIZE = 50
"""Number of sessions on a page."""
NEWEST = "-started"
COLUMNS = {
    "session": "Session",
    "started": "Started (UTC)",
    "length": "Length",
    "turns": "Turns",
    "p50": "p50, ms",
    "p95": "p95, ms",
    "interruptions": "Interrupted",
    "errors": "Errors",
    "unanswered": "No response",
    "framework": "Framework",
    "version": "Version",
}
"""The columns, by the name that ``sort`` has for them."""
TEXT = ("session", "started", "framework", "version")
"""Columns that are aligned to the left; those that are not times are sorted ascending first."""


def routes(log: Log, render: Render) -> list[Route]:
    def sessions(request: Request) -> Response:
        params = params_of(request, "sort", "page")
        try:
            wanted, (by, descending) = filter_of(params), _order(params)
            page = number(params, "page", 1, 1_000_000)
        except BadFilter as error:
            return render("sessions.html", 400, page="/", error=str(error), **form("/", params, Filter()))
        found = log.matching(wanted)
        rows = ordered(found.calls, by, descending=descending)
        pages = max(1, -(-len(rows) // SIZE))
        page = min(page, pages)
        return render(
            "sessions.html",
            page="/",
            error="",
            rows=rows[(page - 1) * SIZE : page * SIZE],
            total=len(rows),
            first=(page - 1) * SIZE + 1,
            chart=over_time(found, params, wanted.measure),
            headers=_headers(params, by, descending=descending),
            pages={n: link("/", {**params, "page": [str(n)]}) for n in _near(page, pages)},
            number=page,
            unit=MEASURES[wanted.measure],
            measure=wanted.measure,
            **form("/", params, wanted),
        )

    return [Route("/", sessions)]


def ordered(rows: list[Call], by: str, *, descending: bool) -> list[Call]:
    """The sessions by a column; those without a value come last in both directions."""
    field = "started_ns" if by == "started" else by
    known = [row for row in rows if getattr(row, field) not in (None, "")]
    known.sort(key=lambda row: row.session)
    known.sort(key=lambda row: getattr(row, field), reverse=descending)
    return known + [row for row in rows if getattr(row, field) in (None, "")]


def _order(params: Params) -> tuple[str, bool]:
    text = one(params, "sort") or NEWEST
    by = text.removeprefix("-")
    if by not in COLUMNS:
        raise BadFilter(f"sort: {by!r} is not a column; use {', '.join(COLUMNS)}")
    return by, text.startswith("-")


def _headers(params: Params, by: str, *, descending: bool) -> list[dict[str, Any]]:
    """The column headers, each a link that sorts by it, or the other way round."""
    found = []
    for name, title in COLUMNS.items():
        first_down = name == "started" or name not in TEXT
        down = not descending if name == by else first_down
        found.append(
            {
                "title": title,
                "number": name not in TEXT,
                "sorted": ("descending" if descending else "ascending") if name == by else "",
                "url": link("/", {**params, "sort": [f"-{name}" if down else name], "page": []}),
            }
        )
    return found


def _near(page: int, pages: int) -> list[int]:
    """The numbers of the first page, the last one, and those beside this one."""
    return sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})
