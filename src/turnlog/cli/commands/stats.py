"""``turnlog stats``: how the calls of a log went."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from eventstore.stores.base import Session, Store
from projections.caller import RULES as TURNLOG
from turnlog.cli.commands.calls import RulesOption
from turnlog.cli.common import DbOption, JsonOption, existing, known, output, print_json, progress
from turnlog.survey import Survey
from turnlog.terminal import say_text

SomeSessions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SESSION…]", help="Only these; as `turnlog sessions` lists them.", show_default="all"),
]
SinceOption = Annotated[
    str | None, typer.Option(metavar="MOMENT", help="Only sessions that began then or later: 2026-03-01, UTC.")
]
UntilOption = Annotated[str | None, typer.Option(metavar="MOMENT", help="Only sessions that began before.")]
GroupOption = Annotated[
    Literal["session", "day", "version", "agent", "provider", "model", "stt", "llm", "tts", "realtime"] | None,
    typer.Option(help="Group the turns; stt, llm, tts and realtime: by provider and model of that component."),
]


def stats(
    context: typer.Context,
    sessions: SomeSessions = None,
    by: GroupOption = None,
    plot: Annotated[
        str | None, typer.Option(metavar="MEASURE", help="Draw how this is distributed, such as response.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Percentiles of the response and every latency, rates of unanswered turns and more: of all turns, or by group."""
    from turnlog.stats.collect import collect
    from turnlog.stats.metrics import find_measure
    from turnlog.stats.report import plot as histogram
    from turnlog.stats.report import report, show
    from turnlog.stats.table import need_libraries

    need_libraries()
    measure = find_measure(plot) if plot is not None else None
    store = existing(context, db)
    chosen = choose(store, sessions, since, until)
    with progress() as bar:
        task = bar.add_task("replaying", total=sum(s.events for s in chosen))
        survey = Survey(alone=len(chosen) == 1)
        table = collect(store, chosen, rules, by, lambda events: bar.advance(task, events), survey)
    store.close()
    found = report(table)
    if as_json:
        print_json({"rules": rules, "by": by, "groups": found})
    else:
        console = output()
        show(console, found, rules, by)
        if measure is not None:
            drawn = histogram(table, measure, min(console.width, 100))
            say_text(drawn or f"nothing to draw: no turn has {measure}")
    survey.finish()


def choose(store: Store, names: list[str] | None, since: str | None, until: str | None) -> list[Session]:
    """The sessions that are meant, each once, the oldest first. Raises `UnknownSession` and `BadMoment`."""
    from turnlog.stats.collect import between, moment_ns

    begin, end = (moment_ns(text) if text is not None else None for text in (since, until))
    recorded = store.sessions()
    if names:
        there = {session.session_id: session for session in recorded}
        recorded = [there[name] if name in there else known(store, name) for name in dict.fromkeys(names)]
    return between(recorded, begin, end)
