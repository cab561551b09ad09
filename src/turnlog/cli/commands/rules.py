"""``turnlog rules``: the rule sets, and what makes them differ."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.progress import DownloadColumn
from rich.table import Table

from projections.caller import RULES as TURNLOG
from projections.readings import FRAMEWORK, RELEASES
from projections.reference.rules import RULE_SETS, SWITCHES, VIDEOSDK_1_0
from projections.turns.decisions import DECISIONS
from turnlog.cli.common import atomic_file, opener, output, print_json, progress
from turnlog.cli.options import FilesArgument, JsonOption, RulesOption
from turnlog.terminal import safe, say


def rules(as_json: JsonOption = False) -> None:
    """List the rule sets: the caller's reading with its decisions, and the releases with the switches between them."""
    if as_json:
        switches = [{"switch": s, "reason": why, "rules": _sets(s)} for s, why in SWITCHES.items()]
        decisions = [{"decision": name, "reason": why} for name, why in DECISIONS.items()]
        print_json({"rules": [TURNLOG, *RELEASES], "decisions": decisions, "switches": switches})
        return
    console = output()
    console.print(f"[bold]{TURNLOG}[/], the default: what the people on the call experienced. Turns are assembled by:")
    console.print(_table(("decision", "why"), [(name, why) for name, why in DECISIONS.items()]))
    console.print(f"\n[bold]{', '.join(RELEASES)}[/]: what those releases of videosdk-agents make of the calls.")
    console.print(f"--rules {FRAMEWORK} picks the one that the session names; --rules SET+SWITCH puts a switch on.")
    rows = [(switch, _sets(switch)[0], why) for switch, why in SWITCHES.items()]
    console.print(_table(("switch", "on since", "why"), rows))


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column != "why")
    for row in rows:
        table.add_row(*map(safe, row))
    return table


def _sets(switch: str) -> list[str]:
    """The releases that have it, in their order; what one has the next ones have."""
    return [name for name in RELEASES if getattr(RULE_SETS[name], switch)]


def markdown() -> str:
    """The table of switches in ``docs/rules.md``."""
    rows = [["switch", *(f"`{name}`" for name in RELEASES), "why"], ["---", *([":-:"] * len(RELEASES)), "---"]]
    for switch, reason in SWITCHES.items():
        rows.append([f"`{switch}`", *("×" if name in _sets(switch) else "" for name in RELEASES), reason])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def decisions_markdown() -> str:
    """The table of decisions in ``docs/rules.md``."""
    rows = [["decision", "why"], ["---", "---"], *([f"`{name}`", why] for name, why in DECISIONS.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


SHOWN = 20


def conformance(
    files: FilesArgument,
    dump: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the lines with our own output.")] = None,
    rules: RulesOption = VIDEOSDK_1_0.name,
    fast: Annotated[bool, typer.Option("--fast", help="Fold in memory, without recorder, journal and SQLite.")] = False,
) -> None:
    """Replay recorded calls and compare with what the reference made of them; exit 1 if anything differs."""
    from turnlog.conformance import check_conformance
    from turnlog.recordings import read_recordings

    sessions = calls = mismatches = 0
    with progress(DownloadColumn()) as bar, atomic_file(dump) if dump is not None else nullcontext() as out:
        recordings = chain.from_iterable(read_recordings(file, lambda path: opener(bar, path)) for file in files)
        for result in check_conformance(recordings, fast=fast, rules=rules):
            sessions += 1
            calls += result.calls
            for line in result.mismatches[: max(0, SHOWN - mismatches)]:
                say(line)
            mismatches += len(result.mismatches)
            if out is not None:
                out.write(orjson.dumps(result.line) + b"\n")
    say(f"{sessions} sessions, {calls} calls, {mismatches} mismatches")
    if mismatches:
        raise typer.Exit(1)
