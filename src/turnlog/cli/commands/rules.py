"""``turnlog rules`` and ``conformance``: the rule sets and how they differ."""

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
from turnlog.cli.common import opener, progress
from turnlog.cli.options import FilesArgument, JsonOption, RulesOption
from turnlog.console import output, safe
from turnlog.files import atomic_file
from turnlog.terminal import print_json, say


def rules(as_json: JsonOption = False) -> None:
    """List the rule sets with their decisions and switches."""
    if as_json:
        switches = [{"switch": s, "reason": why, "rules": _releases_with(s)} for s, why in SWITCHES.items()]
        decisions = [{"decision": name, "reason": why} for name, why in DECISIONS.items()]
        print_json({"rules": [TURNLOG, *RELEASES], "decisions": decisions, "switches": switches})
        return
    console = output()
    console.print(f"[bold]{TURNLOG}[/] (default): what the people on the call experienced. Its decisions:")
    console.print(_table(("decision", "why"), [(name, why) for name, why in DECISIONS.items()]))
    console.print(f"\n[bold]{', '.join(RELEASES)}[/]: the output of those releases of videosdk-agents. Their switches:")
    console.print(f"--rules {FRAMEWORK} picks the release that the session names; --rules SET+SWITCH enables a switch.")
    rows = [(switch, _releases_with(switch)[0], why) for switch, why in SWITCHES.items()]
    console.print(_table(("switch", "on since", "why"), rows))


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, no_wrap=column != "why")
    for row in rows:
        table.add_row(*map(safe, row))
    return table


def _releases_with(switch: str) -> list[str]:
    """The releases with the switch, oldest first; later releases keep the switches of earlier ones."""
    return [name for name in RELEASES if getattr(RULE_SETS[name], switch)]


def markdown() -> str:
    """The table of switches in ``docs/rules.md``."""
    rows = [["switch", *(f"`{name}`" for name in RELEASES), "why"], ["---", *([":-:"] * len(RELEASES)), "---"]]
    for switch, reason in SWITCHES.items():
        rows.append([f"`{switch}`", *("×" if name in _releases_with(switch) else "" for name in RELEASES), reason])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def decisions_markdown() -> str:
    """The table of decisions in ``docs/rules.md``."""
    rows = [["decision", "why"], ["---", "---"], *([f"`{name}`", why] for name, why in DECISIONS.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


SHOWN = 20


def conformance(
    files: FilesArgument,
    dump: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the input lines with the output of this engine.")
    ] = None,
    rules: RulesOption = VIDEOSDK_1_0.name,
    fast: Annotated[
        bool, typer.Option("--fast", help="Replay in memory, without recorder, journal and SQLite.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare replays with recorded output of videosdk-agents.

    Exits with 1 if anything differs.
    """
    from turnlog.conformance import check_conformance
    from turnlog.recordings import read_recordings

    sessions = calls = mismatches = 0
    first: list[str] = []
    with progress(DownloadColumn()) as bar, atomic_file(dump) if dump is not None else nullcontext() as out:
        recordings = chain.from_iterable(read_recordings(file, lambda path: opener(bar, path)) for file in files)
        for result in check_conformance(recordings, fast=fast, rules=rules):
            sessions += 1
            calls += result.calls
            new = result.mismatches[: max(0, SHOWN - mismatches)]
            first += new
            for line in [] if as_json else new:
                say(line)
            mismatches += len(result.mismatches)
            if out is not None:
                out.write(orjson.dumps(result.line) + b"\n")
    if as_json:
        print_json({"sessions": sessions, "calls": calls, "mismatches": mismatches, "first": first})
    else:  # programs parse this line, so it always has the plurals
        say(f"{sessions} sessions, {calls} calls, {mismatches} mismatches")
    if mismatches:
        raise typer.Exit(1)
