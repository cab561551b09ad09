"""``turnlog explain``: why a number is what it is."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from eventstore.event import Event
from projections.asked import UnknownPath
from projections.attribution import attributed
from projections.boundary import replaying
from projections.explain import Explanation, Reason, explain_in, in_words
from projections.provenance import Trail
from projections.reference.rules import VIDEOSDK_1_0
from turnlog.cli.calls import RulesOption
from turnlog.cli.common import DbOption, JsonOption, SessionArgument, existing, output, print_json, read
from turnlog.terminal import in_line, safe

TurnArgument = Annotated[
    str | None, typer.Argument(metavar="TURN", help="Its number, from 1; `discarded`, `discarded:2` or `open`.")
]


def explain(
    context: typer.Context,
    session: SessionArgument,
    turn: TurnArgument = None,
    field: Annotated[
        str | None, typer.Argument(metavar="FIELD", help="Like e2e_latency, e2eLatency, response_ms, stt_latency.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="List what came of each event of the session.")] = False,
    rules: RulesOption = VIDEOSDK_1_0.name,
    db: DbOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which events, rules and switches made a number of a turn; without FIELD its E2E latency and response."""
    store = existing(context, db)
    found = read(store, session)
    store.close()
    with replaying(session):
        if events:
            _events(found, rules, as_json)
        else:
            _explain(found, turn, field, rules, as_json)


def _explain(found: list[Event], turn: str | None, field: str | None, rules: str, as_json: bool) -> None:
    if turn is None:
        raise UnknownPath("say which turn: `turnlog explain SESSION 3`; or list all events with --events")
    trail, where = Trail(found, rules), _where(turn)
    fields = [field] if field else ([None] if turn.startswith("discarded") else ["e2e_latency", "response_ms"])
    explained = [explain_in(trail, f"{where}.{each}" if each else where) for each in fields]
    if as_json:
        print_json([_json(each) for each in explained])
        return
    console = output()
    if turn.isdigit() and field is None:
        for line in in_words(found, int(turn), rules):
            console.print(in_line(line), markup=False)
    for each in explained:
        _show(console, each, trail)


def _where(turn: str) -> str:
    """The path of the turn. Raises `UnknownPath`."""
    name, _colon, number = turn.partition(":")
    if turn.isdigit() and int(turn) > 0:
        return f"turns[{int(turn) - 1}]"
    if name == "discarded" and (number or "1").isdigit() and int(number or "1") > 0:
        return f"discarded[{int(number or '1') - 1}]"
    if turn == "open":
        return "current_turn"
    raise UnknownPath(f"no turn {turn!r}: say its number, from 1, or `discarded`, `discarded:2`, `open`")


def _json(found: Explanation) -> dict[str, Any]:
    return found._asdict() | {
        "why": _plain(found.why),
        "switches": [switch._asdict() for switch in found.switches],
        "events": [event._asdict() for event in found.events],
    }


def _plain(reason: Reason) -> dict[str, Any]:
    return reason._asdict() | {"why": [_plain(each) for each in reason.why]}


def _show(console: Console, found: Explanation, trail: Trail) -> None:
    times = {event.at: event for event in found.events}

    def line(reason: Reason) -> str:
        name = safe(reason.path.partition("].")[2] or reason.path)
        shown = f"[bold]{name}[/] {safe(_short(reason.value))}"
        if reason.at is None:
            return f"{shown}  [dim]{safe(reason.rule)}[/]"
        event = times[reason.at]
        return f"{shown}  ← {safe(event.hook)} [cyan]#{event.seq}[/] [dim]{event.since_opening * 1000:+,.0f} ms[/]"

    def grow(tree: Tree, reason: Reason) -> Tree:
        for each in reason.why:
            grow(tree.add(line(each)), each)
        return tree

    console.print(f"\n[dim]{safe(found.path)}[/]  rules {safe(trail.rules.name)}")
    if found.discarded:
        console.print(in_line(f"discarded: {found.discarded}"), markup=False)
    console.print(grow(Tree(line(found.why)), found.why))
    if found.why.at is not None:
        console.print(in_line(f"  rule  {found.rule}"), markup=False)
    if on := [switch for switch in found.switches if switch.on]:
        console.print("  switches on  " + ", ".join(switch.name for switch in on))
    if off := [switch.name for switch in found.switches if not switch.on]:
        console.print(f"  [dim]switches off  {', '.join(off)}[/]")
    others = Counter(event.hook for event in found.events if event.role == "could have")
    if others:
        firsts = {event.hook: event.seq for event in reversed(found.events) if event.role == "could have"}
        told = ", ".join(f"{hook} #{firsts[hook]}" + (f" ×{n}" if n > 1 else "") for hook, n in others.most_common())
        console.print(f"  [dim]could have changed it  {safe(told)}[/]")


def _short(value: Any) -> str:
    text = f"{value:,.4f}".rstrip("0").rstrip(".") if type(value) is float else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _events(found: list[Event], rules: str, as_json: bool) -> None:
    rows = attributed(found, rules)
    if as_json:
        print_json([row._asdict() for row in rows])
        return
    table = Table("event", "hook", "went to", "")
    for row in rows:
        to = row.to if row.number is None else f"{row.to} {row.number}"
        style = "dim" if row.to == "nothing" else None
        table.add_row(f"#{row.seq}", *map(safe, (row.hook, to, row.why)), style=style)
    output().print(table)
