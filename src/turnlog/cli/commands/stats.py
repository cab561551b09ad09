"""``turnlog stats``: percentiles and rates over sessions."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from projections.caller import RULES as TURNLOG
from turnlog.cli.choice import select_sessions
from turnlog.cli.common import existing, replaying_bar
from turnlog.cli.options import DbOption, JobsOption, JsonOption, RulesOption, SinceOption, SomeSessions, UntilOption
from turnlog.console import output
from turnlog.survey import Survey
from turnlog.terminal import print_json, say_text

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
    store = existing(context, db)
    chosen = select_sessions(store, sessions, since, until)
    survey = Survey(alone=len(chosen) == 1)
    planned = plan(store, chosen, rules)
    with replaying_bar(planned) as on_replayed:
        table = collect(store, planned, by, jobs=jobs, on_replayed=on_replayed, survey=survey)
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
