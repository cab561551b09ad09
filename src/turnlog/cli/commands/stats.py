"""Commands for statistics over sessions: stats, and project, which keeps what they are made of."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from projections.caller import RULES as TURNLOG
from turnlog.cli.choice import select_sessions
from turnlog.cli.common import existing, jobs_or_all, replaying_bar
from turnlog.cli.options import (
    ArchiveOption,
    DbOption,
    JobsOption,
    JsonOption,
    RulesOption,
    SinceOption,
    SomeSessions,
    UntilOption,
)
from turnlog.console import output
from turnlog.survey import NotReplayed, Survey
from turnlog.terminal import plural, print_json, say, say_text

if TYPE_CHECKING:
    from turnlog.read_models import Plan

GroupOption = Annotated[
    Literal["session", "day", "version", "agent", "provider", "model", "stt", "llm", "tts", "realtime"] | None,
    typer.Option(
        metavar="GROUP",
        help="Group the turns by session, day, version, agent, provider or model; or by stt, llm, tts or realtime: the "
        "provider and model of that component.",
    ),
]


def stats(
    context: typer.Context,
    sessions: SomeSessions = None,
    by: GroupOption = None,
    plot: Annotated[
        str | None, typer.Option(metavar="MEASURE", help="Draw a histogram of this measure, such as response.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rules: RulesOption = TURNLOG,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show percentiles of latencies, and rates, over sessions."""
    from turnlog.read_models import plan
    from turnlog.stats.collect import collect
    from turnlog.stats.metrics import find_measure
    from turnlog.stats.report import plot as histogram
    from turnlog.stats.report import report, show_report
    from turnlog.stats.table import need_libraries

    need_libraries()
    measure = find_measure(plot) if plot is not None else None
    store = existing(context, db, archive)
    chosen = select_sessions(store, sessions, since, until)
    survey = Survey(alone=len(chosen) == 1)
    planned = plan(store, chosen, rules)
    with replaying_bar(planned) as on_replayed:
        table = collect(store, planned, by, jobs=jobs_or_all(jobs), on_replayed=on_replayed, survey=survey)
    store.close()
    found = report(table)
    if as_json:
        print_json({"rules": rules, "by": by, "groups": found})
    else:
        console = output()
        show_report(console, found, rules, by)
        if measure is not None:
            drawing = histogram(table, measure, min(console.width, 100))
            say_text(drawing or f"nothing to draw: no turn has a {measure}")
    survey.finish()


def project(
    context: typer.Context,
    sessions: SomeSessions = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rules: RulesOption = TURNLOG,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with sessions as they become quiet, until interrupted.")
    ] = False,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay new and changed sessions now, for fast statistics.

    The results are kept beside the log. Without this command, sessions are replayed when they are first needed.
    """
    from turnlog.read_models import following, model_rows, plan

    store = existing(context, db, archive)
    stop = threading.Event()
    if follow:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())

    def replay(planned: Plan) -> set[str]:
        """Make the rows of the plan; returns the sessions that failed."""
        survey, stale, replayed = Survey(), planned.stale_names, 0
        with replaying_bar(planned) as on_replayed:
            rows = model_rows(store, planned, jobs=jobs_or_all(jobs), on_replayed=on_replayed, survey=survey)
            for session, _row in rows:
                replayed += session.session_id in stale
                if stop.is_set():
                    rows.close()
        _report(plan(store, planned.sessions, rules), replayed, survey, as_json)
        return survey.failed

    try:
        failed = replay(plan(store, select_sessions(store, sessions, since, until), rules))
        if follow:
            following.follow(
                store,
                lambda: select_sessions(store, sessions, since, until),
                rules,
                replay,
                stop,
                lambda error: say(f"turnlog: {error}; trying again", err=True),
            )
    finally:
        store.close()
    if failed:
        raise NotReplayed(f"{plural(len(failed), 'session')} failed; see the lines above")


def _report(now: Plan, replayed: int, survey: Survey, as_json: bool) -> None:
    fresh = len(now.sessions) - len(now.stale)
    if as_json:
        counts = {"rules": now.rules, "sessions": len(now.sessions), "fresh": fresh, "replayed": replayed}
        print_json(counts | {"failed": sorted(survey.failed)}, indent=False)
    else:
        say(f"{plural(replayed, 'session')} replayed; {fresh:,} of {plural(len(now.sessions), 'session')} up to date")
