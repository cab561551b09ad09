"""``turnlog diff`` and ``digest``: compare calls under two rule sets, in two logs, or across versions of turnlog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import DownloadColumn

from eventstore.errors import TurnlogError
from eventstore.event import Event
from eventstore.stores.base import Store
from projections.compare.digest import changes_since
from projections.compare.digest import digest as digest_of
from projections.compare.recordings import Divergence, changes_between, first_divergences, on_common_clock
from projections.compare.turns import changes, first_divergence
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.replay import turns
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.reference.state import State
from turnlog.cli.choice import named_sessions
from turnlog.cli.common import BadChoice, existing, progress
from turnlog.cli.common import url as url_of
from turnlog.cli.options import (
    AllOption,
    ArchiveOption,
    DbOption,
    JsonOption,
    OutOption,
    RulesOption,
    SessionsArgument,
    VerboseOption,
)
from turnlog.cli.render import differences
from turnlog.cli.writing import Form, write_sessions
from turnlog.compare import digest_files as digests
from turnlog.compare.differences import Compared, Differences, summary
from turnlog.console import output
from turnlog.sessions import display_name, events_of, find_session, open_existing, read_session
from turnlog.survey import Survey
from turnlog.terminal import plural, print_json

Notes = dict[str, list[str]]
"""Sessions not fully compared, by reason (`turnlog.cli.render.differences.NOTES`)."""


class DigestMismatch(TurnlogError):
    """The replay differs from the stored digests."""


def diff(
    context: typer.Context,
    sessions: SessionsArgument = None,
    every: AllOption = False,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rules",
            metavar="RULES",
            help="Rule set; pass it twice to compare two, or once for the other comparisons.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Compare with this log, in which the same calls were recorded again."),
    ] = None,
    digest_file: Annotated[
        Path | None, typer.Option("--digests", metavar="FILE", help="Compare with a file that `turnlog digest` wrote.")
    ] = None,
    db: DbOption = None,
    archive: ArchiveOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare turns: two rule sets, two logs, or a digest file.

    Pass --rules twice, --against or --digests. Prints how many turns differ, in which fields and by how much, then the
    first event at which each session differs. With --digests, exits with 1 if anything differs.
    """
    named = rules or []
    if against is None and digest_file is None and len(named) != 2:
        raise BadChoice("nothing to compare; pass --rules twice, --against URL, or --digests FILE")
    if against is not None and digest_file is not None:
        raise BadChoice("pass either --against or --digests, not both")
    if (against is not None or digest_file is not None) and len(named) > 1:
        raise BadChoice("--against and --digests compare under one rule set; pass --rules at most once")
    store, survey = existing(context, db, archive), Survey(alone=len(set(sessions or ())) == 1)
    try:
        if against is not None:
            one = named[0] if named else VIDEOSDK_1_0.name
            here = archive or url_of(context, db)
            title = f"{display_name(here)} → {display_name(against)}, under {one}"
            other = _open_other(here, against)
            notes, found = _compare_logs(store, other, sessions, every, rule_sets.find_rules(one), survey)
        elif digest_file is not None:
            title, notes, found = since(store, digest_file, sessions, every, named, survey)
        else:
            title, notes = f"{named[0]} → {named[1]}", {}
            one_set, two_set = (rule_sets.find_rules(name) for name in named)
            found = _compare_rules(store, named_sessions(store, sessions, every), one_set, two_set, survey)
    finally:
        store.close()
    if as_json:
        print_json(summary(found) | notes)
    else:
        differences.show(output(), title, found, notes, verbose=verbose)
    if digest_file is not None and found.changes:
        count = f"{found.changed_turns:,} of {plural(found.turns, 'turn')}"
        raise DigestMismatch(f"{count} differ from {digest_file}")
    survey.finish()


def _compare_sessions(names: Sequence[str], compare: Callable[[str], Compared], survey: Survey) -> Differences:
    found = Differences()
    with progress() as bar:
        compared = survey.each(names, compare)
        for _name, each in bar.track(compared, total=len(names), description="comparing"):
            found.add(each)
    return found


def _compare_rules(store: Store, names: list[str], one: Rules, two: Rules, survey: Survey) -> Differences:
    def compare(name: str) -> Compared:
        events = read_session(store, name)
        before, after = (fold(begin(rules, spans=False, signals=False), events) for rules in (one, two))
        changed = changes(before.turns, after.turns, _completing_events(before, after))
        count = len(before.turns) + sum(change.turn is None for change in changed)
        event = first_divergence(events, one, two) if changed else None
        return Compared(name, count, changed, None if event is None else differences.named(event))

    return _compare_sessions(names, compare, survey)


def _completing_events(before: State, after: State) -> tuple[list[int], list[int]] | None:
    """The events that completed the turns; None if a turn has no payload, and so no such event."""
    both = before.payloads_at, after.payloads_at
    return both if [len(at) for at in both] == [len(before.turns), len(after.turns)] else None


def _open_other(here: str, there: str) -> Store:
    """The log to compare with. Raises `BadChoice` if it is the same log."""
    if _location(here) == _location(there):
        raise BadChoice("--db and --against name the same log")
    return open_existing(there, "--against")


def _location(where: str) -> str:
    if "://" in where and not where.startswith("sqlite:///"):
        return "postgresql:" + where.partition(":")[2]
    return str(Path(where.removeprefix("sqlite:///")).expanduser().resolve())


def _compare_logs(
    store: Store, other: Store, sessions: list[str] | None, every: bool, rules: Rules, survey: Survey
) -> tuple[Notes, Differences]:
    def compare(name: str) -> Compared:
        one, two = on_common_clock(read_session(store, name)), on_common_clock(read_session(other, name))
        before, after = turns(one, rules), turns(two, rules)
        changed = changes_between(before, after)
        count = len(before) + sum(change.turn is None for change in changed)
        return Compared(name, count, changed, [_divergence_dict(each) for each in first_divergences(one, two)] or None)

    try:
        names = named_sessions(store, sessions, every)
        in_other = {session.session_id for session in other.sessions()}
        if not every:
            for name in names:
                if name not in in_other:
                    find_session(other, name)
        notes = {
            "only_in_one": [name for name in names if name not in in_other],
            "only_in_other": sorted(in_other.difference(names)) if every else [],
        }
        return notes, _compare_sessions([name for name in names if name in in_other], compare, survey)
    finally:
        other.close()


def _divergence_dict(found: Divergence) -> dict[str, Any]:
    one, two = (None if event is None else differences.named(event) for event in (found.one, found.other))
    return {"what": found.what, "one": one, "other": two, "late_ms": found.late_ms}


def digest(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
    archive: ArchiveOption = None,
) -> None:
    """Write digests of sessions for `turnlog diff --digests`.

    A digest has the numbers of each turn and hashes of its text, so that a later version of turnlog can be compared.
    """
    wanted = rule_sets.find_rules(rules)

    def session_lines(name: str, read: Iterable[Event], _number: int) -> Iterable[bytes]:
        return [digests.digest_line(digests.session_digest(name, events_of(name, read), wanted))]

    form = Form(session_lines, digests.digest_line(digests.digest_heading(wanted)))
    write_sessions(existing(context, db, archive), sessions, every, out, form)


def since(
    store: Store, path: Path, sessions: list[str] | None, every: bool, named: list[str], survey: Survey
) -> tuple[str, Notes, Differences]:
    """A title, the sessions not fully compared, and the differences from a digest file.

    Raises `BadChoice`, and `BadDigests`, also if the file was made under other rules than ``named``.
    """
    if every and sessions:
        raise BadChoice("name at least one session, or pass --all")
    notes: Notes = {"gone": [], "grown": [], "changed_log": []}
    found = Differences()
    unseen = set(sessions or ())
    with progress(DownloadColumn()) as bar:
        heading, stored = digests.load_digests(path, lambda path: bar.open(path, "rb", description="comparing"))
        if named and named[0] != heading.rules:
            raise digests.BadDigests(
                f"{path} was made under the rules {heading.rules!r}, so it says nothing about {named[0]!r}"
            )
        rules = rule_sets.find_rules(heading.rules)
        wanted = (each for each in stored if not sessions or each.session in sessions)
        for each in wanted:
            unseen.discard(each.session)
            for _name, compared in survey.each([each.session], partial(_compare, store, rules, notes, each)):
                if compared is not None:
                    found.add(compared)
    if unseen:
        raise digests.BadDigests(f"{path} has no session {min(unseen)!r}; `turnlog digest` makes a file that has")
    current = digests.digest_heading(rules)
    warning = "" if current.switches == heading.switches else ", which has other switches now"
    return f"turnlog {heading.engine} → {current.engine}, under {rules.name}{warning}", notes, found


def _compare(store: Store, rules: Rules, notes: Notes, stored: digests.SessionDigest, _name: str) -> Compared | None:
    """The session's comparison; None, with the reason added to ``notes``, if it is impossible."""
    events = list(store.read(stored.session))
    then = digests.digested_events(events, stored)
    if then is None:
        notes["changed_log" if events else "gone"].append(stored.session)
        return None
    changed = changes_since(stored.turns, [digest_of(turn) for turn in turns(then, rules)])
    if len(then) < len(events):
        notes["grown"].append(stored.session)
    count = len(stored.turns) + sum(change.turn is None for change in changed)
    return Compared(stored.session, count, changed, None)
