"""``turnlog conformance``: is a replay what the reference gave?"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.progress import DownloadColumn

from projections.reference.rules import VIDEOSDK_1_0
from turnlog.cli.common import opener, progress, whole_file
from turnlog.cli.options import FilesArgument, RulesOption
from turnlog.terminal import say

SHOWN = 20


def conformance(
    files: FilesArgument,
    dump: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the lines with our own output.")] = None,
    rules: RulesOption = VIDEOSDK_1_0.name,
    fast: Annotated[bool, typer.Option("--fast", help="Fold in memory, without recorder, journal and SQLite.")] = False,
) -> None:
    """Replay recorded calls and compare with what the reference made of them; exit 1 if anything differs."""
    from turnlog.conformance import run
    from turnlog.recordings import read_recordings

    sessions = calls = mismatches = 0
    with progress(DownloadColumn()) as bar, whole_file(dump) if dump is not None else nullcontext() as out:
        recordings = chain.from_iterable(read_recordings(file, lambda path: opener(bar, path)) for file in files)
        for result in run(recordings, fast=fast, rules=rules):
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
