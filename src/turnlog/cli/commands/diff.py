"""``turnlog diff``: the same calls under two rule sets, in two logs, or as another engine saw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from eventstore.errors import TurnlogError
from eventstore.stores.base import Store
from projections.compare.recordings import Divergence, changes_between, first_divergences, on_common_clock
from projections.compare.turns import changes, first_divergence
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.replay import turns
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.reference.state import State
from turnlog.cli.choice import chosen
from turnlog.cli.commands.digest import Notes, since
from turnlog.cli.common import BadChoice, existing, output, print_json, progress
from turnlog.cli.common import url as url_of
from turnlog.cli.options import AllOption, DbOption, JsonOption, SessionsArgument
from turnlog.cli.render import differences
from turnlog.compare.differences import Compared, Differences, summary
from turnlog.sessions import known, open_existing, read
from turnlog.survey import Survey


class Another(TurnlogError):
    """An engine makes something else of a log than was stored."""


def diff(
    context: typer.Context,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    rules: Annotated[
        list[str] | None, typer.Option("--rules", help="Two to compare; or one to compare under.", show_default=False)
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="URL", help="Another log, of the same calls recorded again.")
    ] = None,
    digest_file: Annotated[
        Path | None, typer.Option("--digests", metavar="FILE", help="What `turnlog digest` wrote, with any engine.")
    ] = None,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show in which fields of which turns sessions differ, by how much, and from which event on.

    Between two rule sets (--rules A --rules B), between two logs (--against), or since an engine stored what it made of
    them (--digests; then exit code 1 if anything is another).
    """
    named = rules or []
    if against is None and digest_file is None and len(named) != 2:
        raise BadChoice("say --rules twice, --against a log, or --digests FILE: what to compare with what")
    if against is not None and digest_file is not None:
        raise BadChoice("--against and --digests are two comparisons; take one of them")
    if (against is not None or digest_file is not None) and len(named) > 1:
        raise BadChoice("--against and --digests compare under one rule set; say --rules once, or not at all")
    store, survey = existing(context, db), Survey(alone=len(set(sessions or ())) == 1)
    try:
        if against is not None:
            one = named[0] if named else VIDEOSDK_1_0.name
            title = f"the log → the other, under {one}"
            other = _other(url_of(context, db), against)
            notes, found = _two_logs(store, other, sessions, every, rule_sets.find_rules(one), survey)
        elif digest_file is not None:
            title, notes, found = since(store, digest_file, sessions, every, named, survey)
        else:
            title, notes = f"{named[0]} → {named[1]}", {}
            one_set, two_set = (rule_sets.find_rules(name) for name in named)
            found = _two_rules(store, chosen(store, sessions, every), one_set, two_set, survey)
    finally:
        store.close()
    if as_json:
        print_json(summary(found) | notes)
    else:
        differences.show(output(), title, found, notes)
    if digest_file is not None and found.changes:
        turns_of = f"{found.changed_turns} of {found.turns} turns, in {found.changed_sessions} sessions"
        raise Another(f"{turns_of}, differ from {digest_file}")
    survey.finish()


def _added(names: Sequence[str], compare: Callable[[str], Compared], survey: Survey) -> Differences:
    found = Differences()
    with progress() as bar:
        compared = survey.each(names, compare)
        for _name, each in bar.track(compared, total=len(names), description="comparing"):
            found.add(each)
    return found


def _two_rules(store: Store, names: list[str], one: Rules, two: Rules, survey: Survey) -> Differences:
    def compare(name: str) -> Compared:
        events = read(store, name)
        before, after = (fold(begin(rules, spans=False, signals=False), events) for rules in (one, two))
        changed = changes(before.turns, after.turns, _completed(before, after))
        count = len(before.turns) + sum(change.turn is None for change in changed)
        event = first_divergence(events, one, two) if changed else None
        return Compared(name, count, changed, None if event is None else differences.named(event))

    return _added(names, compare, survey)


def _completed(before: State, after: State) -> tuple[list[int], list[int]] | None:
    """The events that completed the turns; None if of some turn no payload could be made, as it then has none."""
    both = before.payloads_at, after.payloads_at
    return both if [len(at) for at in both] == [len(before.turns), len(after.turns)] else None


def _other(here: str, there: str) -> Store:
    """The log to compare with. Raises `BadChoice` if it is the same one."""
    if _place(here) == _place(there):
        raise BadChoice("--db and --against are the same log; name two")
    return open_existing(there)


def _place(where: str) -> str:
    if "://" in where and not where.startswith("sqlite:///"):
        return "postgresql:" + where.partition(":")[2]
    return str(Path(where.removeprefix("sqlite:///")).expanduser().resolve())


def _two_logs(
    store: Store, other: Store, sessions: list[str] | None, every: bool, rules: Rules, survey: Survey
) -> tuple[Notes, Differences]:
    def compare(name: str) -> Compared:
        one, two = on_common_clock(read(store, name)), on_common_clock(read(other, name))
        before, after = turns(one, rules), turns(two, rules)
        changed = changes_between(before, after)
        count = len(before) + sum(change.turn is None for change in changed)
        return Compared(name, count, changed, [_parting(each) for each in first_divergences(one, two)] or None)

    try:
        names = chosen(store, sessions, every)
        there = {session.session_id for session in other.sessions()}
        if not every:
            for name in names:
                if name not in there:
                    known(other, name)
        notes = {
            "only_in_one": [name for name in names if name not in there],
            "only_in_other": sorted(there.difference(names)) if every else [],
        }
        return notes, _added([name for name in names if name in there], compare, survey)
    finally:
        other.close()


def _parting(parting: Divergence) -> dict[str, Any]:
    one, two = (None if event is None else differences.named(event) for event in (parting.one, parting.other))
    return {"what": parting.what, "one": one, "other": two, "late_ms": parting.late_ms}
