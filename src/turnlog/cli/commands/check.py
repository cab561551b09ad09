"""``turnlog check``: check the calls of a log against a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eventstore.errors import TurnlogError
from eventstore.stores.base import Session, Store
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
    VerboseOption,
)
from turnlog.console import output
from turnlog.files import append_to_file, atomic_file
from turnlog.survey import Survey
from turnlog.terminal import plural, print_json, say

if TYPE_CHECKING:
    from turnlog.stats.table import TurnTable
    from turnlog.stats.verdict import Verdict

BudgetArgument = Annotated[
    Path, typer.Argument(metavar="BUDGET.toml", help="Budget file; docs/stats.md has its format.")
]


class BudgetFailed(TurnlogError):
    """A limit of the budget failed."""


class NothingToCheck(TurnlogError):
    """There is no turn to check."""


def check(
    context: typer.Context,
    budget: BudgetArgument,
    sessions: SomeSessions = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with this baseline file, written by --save-baseline.")
    ] = None,
    save_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write these turns as a baseline, if no limit fails.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a Markdown summary, for $GITHUB_STEP_SUMMARY.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    rules: RulesOption = TURNLOG,
    jobs: JobsOption = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check latencies and rates against a budget; exit 1 on failure.

    Prints the verdict on each limit, then the worst turns of each that fails.
    """
    from turnlog.stats import announce
    from turnlog.stats import baseline as baselines
    from turnlog.stats import budget as budgets
    from turnlog.stats.reasons import explain_worst
    from turnlog.stats.table import need_libraries
    from turnlog.stats.verdict import judge

    need_libraries()
    wanted = budgets.load_budget(budget)
    before = baselines.load_baseline(baseline, rules) if baseline is not None else None
    store = existing(context, db, archive)
    table, survey = _collect(store, select_sessions(store, sessions, since, until), rules, jobs)
    verdicts = explain_worst(judge(table, wanted, before), store, rules, survey)
    store.close()
    turns = len(table.completed(table.all_turns()))
    failed = [f"{v.budget} ({v.found})" for v in verdicts if v.outcome == "fail"]
    saved = save_baseline if not failed and not survey.failed else None
    if saved is not None:
        with atomic_file(saved) as file:
            file.write(baselines.make_baseline(table, rules).model_dump_json().encode() + b"\n")
    if as_json:
        counts = {"rules": rules, "sessions": table.sessions, "turns": turns, "baseline_saved": saved and str(saved)}
        print_json(announce.data(verdicts) | counts)
    else:
        announce.show_verdict(output(), verdicts, verbose=verbose)
    _write_reports(verdicts, junit, summary)
    if save_baseline is not None:
        reason = "a limit fails" if failed else "a session failed"
        result = f"baseline of {plural(turns, 'turn')} written" if saved else f"not written, as {reason}"
        say(f"{save_baseline}: {result}", err=True)
    if not turns:
        survey.finish()
        raise NothingToCheck(
            f"nothing to check: no turn in {plural(table.sessions, 'session')}; see `turnlog sessions`"
        )
    if failed:
        raise BudgetFailed(f"{len(failed)} of {plural(len(verdicts), 'limit')} failed: {'; '.join(failed)}")
    survey.finish()  # fails the check if a session cannot be replayed


def _write_reports(verdicts: list[Verdict], junit: Path | None, summary: Path | None) -> None:
    from turnlog.stats import announce

    if junit is not None:
        with atomic_file(junit) as file:
            file.write(announce.junit(verdicts))
    if summary is not None:
        append_to_file(summary, announce.markdown(verdicts))


def _collect(store: Store, sessions: list[Session], rules: str, jobs: int | None) -> tuple[TurnTable, Survey]:
    from turnlog.read_models import plan
    from turnlog.stats.collect import collect

    survey = Survey(alone=len(sessions) == 1)
    planned = plan(store, sessions, rules)
    with replaying_bar(planned) as on_replayed:
        return collect(store, planned, jobs=jobs_or_all(jobs), on_replayed=on_replayed, survey=survey), survey
