"""``turnlog digest``: what this engine makes of sessions, small enough to keep, for a later one to be held against."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import typer
from rich.progress import DownloadColumn

from eventstore.stores.base import Store
from projections.compare.digest import changes_since
from projections.compare.digest import digest as digest_of
from projections.reference import rules as rule_sets
from projections.reference.replay import turns
from projections.reference.rules import VIDEOSDK_1_0, Rules
from turnlog.cli.common import BadChoice, existing, progress
from turnlog.cli.options import AllOption, DbOption, OutOption, RulesOption, SessionsArgument
from turnlog.cli.writing import Form, write_sessions
from turnlog.compare import digest_files as digests
from turnlog.compare.differences import Compared, Differences
from turnlog.sessions import read
from turnlog.survey import Survey

Notes = dict[str, list[str]]
"""Sessions of which something has to be said, by what."""


def digest(
    context: typer.Context,
    sessions: SessionsArgument = None,
    out: OutOption = None,
    every: AllOption = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
) -> None:
    """Store what this engine makes of sessions: numbers, and hashes of text; `turnlog diff --digests` compares."""
    wanted = rule_sets.find_rules(rules)

    def made(store: Store, name: str, _number: int) -> Iterable[bytes]:
        return [digests.digest_line(digests.session_digest(name, read(store, name), wanted))]

    form = Form(made, digests.digest_line(digests.digest_heading(wanted)))
    write_sessions(existing(context, db), sessions, every, out, form)


def since(
    store: Store, path: Path, sessions: list[str] | None, every: bool, named: list[str], survey: Survey
) -> tuple[str, Notes, Differences]:
    """What this engine makes otherwise than a digest file has it, with a title, and the sessions to be told of.

    Raises `BadDigests`, also if the file is of other rules than ``named``, and `BadChoice`.
    """
    if every and sessions:
        raise BadChoice("name the sessions to compare, or take --all of them")
    notes: Notes = {"gone": [], "grown": [], "changed_log": []}
    found = Differences()
    left = set(sessions or ())
    with progress(DownloadColumn()) as bar:
        heading, stored = digests.load_digests(path, lambda path: bar.open(path, "rb", description="comparing"))
        if named and named[0] != heading.rules:
            raise digests.BadDigests(
                f"{path} was made under the rules {heading.rules!r}, so it says nothing about {named[0]!r}"
            )
        rules = rule_sets.find_rules(heading.rules)
        wanted = (each for each in stored if not sessions or each.session in sessions)
        for each in wanted:
            left.discard(each.session)
            for _name, compared in survey.each([each.session], partial(_compared, store, rules, notes, each)):
                if compared is not None:
                    found.add(compared)
    if left:
        raise digests.BadDigests(f"{path} has no session {min(left)!r}; `turnlog digest` makes a file that has")
    now = digests.digest_heading(rules)
    meaning = "" if now.switches == heading.switches else ", which has other switches now"
    return f"turnlog {heading.engine} → {now.engine}, under {rules.name}{meaning}", notes, found


def _compared(store: Store, rules: Rules, notes: Notes, stored: digests.SessionDigest, _name: str) -> Compared | None:
    """None if the session cannot be compared, which is in the ``notes`` then."""
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
