"""``turnlog sessions``: list the sessions of the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from eventstore.stores.base import Session, Store
from turnlog.cli.common import BadChoice, existing, jobs_or_all, replaying_bar
from turnlog.cli.options import ArchiveOption, DbOption, JobsOption, JsonOption, SinceOption, UntilOption
from turnlog.console import Column, fitted, output, safe
from turnlog.read_models.overview import Overview, Wanted, overview_of
from turnlog.sessions import format_time, parse_date_ns, started_between
from turnlog.survey import Survey
from turnlog.terminal import plural, print_json, say

LIMIT = 50
"""Maximum number of sessions in the table by default; the first replay of them takes one to three seconds."""


class Having(StrEnum):
    """Values of --with."""

    ERRORS = "errors"
    INTERRUPTIONS = "interruptions"
    NO_RESPONSE = "no-response"


Found = tuple[Session, Overview | None]

LimitOption = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        help=f"Show at most this many; 0 shows all.  [default: {LIMIT}, with --json all]",
        show_default=False,
    ),
]
DetailsOption = Annotated[
    bool | None,
    typer.Option(
        "--details/--no-details",
        help="Replay the sessions to show turns, response times, errors and framework.  [default: yes, with --json no]",
        show_default=False,
    ),
]


def sessions(
    context: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    slower_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only sessions with a slower response, such as 1500ms or 2s.")
    ] = None,
    having: Annotated[
        list[Having] | None,
        typer.Option(
            "--with", metavar="WHAT", help="Only sessions with errors, interruptions or no-response; repeatable."
        ),
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only sessions in which the user or the agent said this.")
    ] = None,
    limit: LimitOption = None,
    details: DetailsOption = None,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the recorded sessions, newest first."""
    limit = (0 if as_json else LIMIT) if limit is None else limit
    slower = _milliseconds(slower_than) if slower_than is not None else None
    wanted = Wanted(slower, tuple(dict.fromkeys(map(str, having or ()))), grep)
    filtered = wanted != Wanted()
    with_details = filtered or (not as_json if details is None else details)
    begin, end = (parse_date_ns(text) if text is not None else None for text in (since, until))
    store = existing(context, db, archive)
    recorded = store.sessions()
    chosen = started_between(recorded, begin, end)[::-1]
    candidates = chosen if filtered or not limit else chosen[:limit]
    survey = Survey(quiet=not filtered)
    found: list[Found] = [(session, None) for session in candidates]
    if with_details:
        matching = dict(_matching(store, candidates, wanted, jobs, limit, survey))
        found = [(session, matching.get(session)) for session in candidates if session in matching or not filtered]
    store.close()
    if as_json:
        print_json([_session_dict(session, summary, with_details) for session, summary in found])
    elif not recorded:
        say("no sessions yet; `turnlog import FILE` or a Recorder creates some")
    else:
        _show(output(), found, with_details)
        say(_count_line(len(found), len(chosen), limit, filtered=filtered))
    survey.finish()


def _matching(
    store: Store, sessions: list[Session], wanted: Wanted, jobs: int | None, limit: int, survey: Survey
) -> Iterator[tuple[Session, Overview]]:
    """The sessions that match, at most ``limit`` of them; 0 is all."""
    from turnlog.read_models import model_rows, plan

    planned = plan(store, sessions)
    with (
        replaying_bar(planned) as on_replayed,
        closing(
            model_rows(store, planned, wanted.parts, jobs=jobs_or_all(jobs), on_replayed=on_replayed, survey=survey)
        ) as rows,
    ):
        matching = ((session, overview_of(row)) for session, row in rows if wanted.holds(row))
        yield from islice(matching, limit or None)


def _count_line(shown: int, total: int, limit: int, *, filtered: bool) -> str:
    if filtered:
        more = "; there may be more: --limit" if limit and shown == limit else ""
        return f"{shown:,} of {plural(total, 'session')} match{more}"
    return plural(total, "session") if shown == total else f"{shown:,} of {plural(total, 'session')}; all: --limit 0"


def _session_dict(session: Session, summary: Overview | None, details: bool) -> dict[str, Any]:
    plain = session._asdict()
    if details:
        plain |= dict.fromkeys(Overview._fields) if summary is None else summary._asdict()
    return plain


def _show(console: Console, found: list[Found], details: bool) -> None:
    if not found:
        return
    listed = [session for session, _overview in found]
    columns = [
        Column("session", [safe(session.session_id) for session in listed]),
        Column("started (UTC)", [format_time(session.started_ns)[:16] for session in listed], rank=4),
        Column("length", [f"{(s.ended_ns - s.started_ns) / 1e9:,.1f} s" for s in listed], right=True, rank=2),
        Column("events", [f"{session.events:,}" for session in listed], right=True, rank=1),
    ]
    overviews = [each for _session, each in found]
    columns += _detail_columns(overviews) if details else []
    failed = details and None in overviews
    console.print(fitted(console, columns, "?: cannot be replayed; see `turnlog replay`" if failed else None))


def _detail_columns(overviews: list[Overview | None]) -> list[Column]:
    columns = [
        Column("turns", ["?" if each is None else f"{each.turns:,}" for each in overviews], right=True),
        Column("p95 response", [_p95(each) for each in overviews], right=True),
        Column("errors", [_error_count(each and each.errors) for each in overviews], right=True, rank=5),
    ]
    frameworks = [safe(each.framework) if each is not None and each.framework else "–" for each in overviews]
    return columns + ([Column("framework", frameworks, rank=3)] if set(frameworks) != {"–"} else [])


def _p95(summary: Overview | None) -> str:
    return "–" if summary is None or summary.response_p95_ms is None else f"{summary.response_p95_ms:,.0f} ms"


def _error_count(value: int | None) -> str:
    return "–" if value is None else f"[red]{value:,}[/]" if value else "0"


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)\s*", text)
    if match is None:
        raise BadChoice(f"{text!r} is not a time; --slower-than takes ms or s, such as 1500ms or 2s")
    return float(match[1]) * (1000 if match[2] == "s" else 1)
