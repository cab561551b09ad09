"""``turnlog check``: hold the calls of a log to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventstore.errors import TurnlogError
from projections.caller import RULES as TURNLOG
from turnlog.cli.choice import choose
from turnlog.cli.common import atomic_file, existing, output, progress
from turnlog.cli.options import DbOption, RulesOption, SinceOption, SomeSessions, UntilOption
from turnlog.files import append_to_file
from turnlog.survey import Survey
from turnlog.terminal import say

BudgetArgument = Annotated[Path, typer.Argument(metavar="BUDGET.toml", help="What they have to keep to.")]


class BudgetBroken(TurnlogError):
    """The calls do not keep to their budget."""


class NothingToCheck(TurnlogError):
    """There is no turn that could be held to a budget."""


def check(
    context: typer.Context,
    budget: BudgetArgument,
    sessions: SomeSessions = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What must not become worse, as --save-baseline wrote it.")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep these turns as a baseline, if no budget is broken.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML.")] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append Markdown, as to $GITHUB_STEP_SUMMARY.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rules: RulesOption = TURNLOG,
    db: DbOption = None,
) -> None:
    """Hold latencies, rates and counts to a budget, for CI; exit code 1 if broken, with the worst turns and why."""
    from turnlog.stats import announce
    from turnlog.stats import baseline as baselines
    from turnlog.stats import budget as budgets
    from turnlog.stats.collect import collect
    from turnlog.stats.reasons import explain_worst
    from turnlog.stats.table import need_libraries
    from turnlog.stats.verdict import judge

    need_libraries()
    wanted = budgets.load_budget(budget)
    before = baselines.load_baseline(baseline, rules) if baseline is not None else None
    store = existing(context, db)
    chosen = choose(store, sessions, since, until)
    with progress() as bar:
        task = bar.add_task("replaying", total=sum(s.events for s in chosen))
        survey = Survey(alone=len(chosen) == 1)
        table = collect(store, chosen, rules, on_read=lambda events: bar.advance(task, events), survey=survey)
    verdicts = explain_worst(judge(table, wanted, before), store, rules, survey)
    store.close()
    announce.show_verdict(output(), verdicts)
    if junit is not None:
        with atomic_file(junit) as file:
            file.write(announce.junit(verdicts))
    if summary is not None:
        append_to_file(summary, announce.markdown(verdicts))
    if not len(table.completed(table.all_turns())):
        survey.finish()
        raise NothingToCheck(f"nothing to check: no turn in {table.sessions:,} sessions; see `turnlog sessions`")
    if broken := [f"{v.budget} ({v.found})" for v in verdicts if v.outcome == "broken"]:
        raise BudgetBroken(f"{len(broken)} of {len(verdicts)} budgets broken: {'; '.join(broken)}")
    survey.finish()  # a session of which nothing is known keeps to no budget
    if save_baseline is not None:
        with atomic_file(save_baseline) as file:
            file.write(baselines.make_baseline(table, rules).model_dump_json().encode() + b"\n")
    say(announce.tally(verdicts))
