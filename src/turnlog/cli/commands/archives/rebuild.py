"""``turnlog rebuild``: replay an archive into Parquet files."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from exporters.archive.libraries import need
from projections.caller import RULES as TURNLOG
from projections.readings import check_rules
from turnlog.cli.common import BadChoice, jobs_or_all, progress
from turnlog.cli.options import JsonOption, RulesOption
from turnlog.terminal import plural, print_json, say

if TYPE_CHECKING:
    from turnlog.rebuild.run import Summary


def rebuild(
    archive: Annotated[str, typer.Option(metavar="ARCHIVE", help="Archive: a folder or s3://BUCKET/PREFIX.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Write to this folder or s3://BUCKET/PREFIX.")],
    rules: RulesOption = TURNLOG,
    what: Annotated[
        str, typer.Option(metavar="OUTPUTS", help="Outputs, with commas: turns, payloads, spans, events.")
    ] = "turns",
    workers: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, help="Number of local processes.  [default: all cores]"),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://…", help="Run on the Dask cluster of this scheduler instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay an archive into Parquet files, in parallel.

    What is there already, made of the same sessions by the same version, is not made again. Exits with 1 if a session
    cannot be replayed; FOLDER/report.json lists them.
    """
    need("archive", "pyarrow", "fsspec")
    if workers is not None and scheduler is not None:
        raise BadChoice("--workers is for a local cluster; leave it out with --scheduler")
    workers = jobs_or_all(workers)
    if workers > 1 or scheduler is not None:
        need("cluster", "distributed")
    from turnlog.rebuild.outputs import OUTPUTS
    from turnlog.rebuild.run import rebuild as run

    check_rules(rules)
    chosen = _outputs(what, OUTPUTS)
    with _resumable(), progress() as bar:
        task = bar.add_task("rebuilding", total=None)
        done = run(
            archive,
            out,
            rules,
            chosen,
            workers=workers,
            scheduler=scheduler,
            on_planned=lambda partitions: bar.update(task, total=partitions),
            on_done=lambda partitions: bar.advance(task, partitions),
        )
    if as_json:
        print_json({"rules": rules, "what": chosen} | done._asdict())
    else:
        _show(done, len(chosen))
    for name, reason in sorted(done.failed.items()):
        say(reason if repr(name) in reason else f"session {name!r}: {reason}", err=True)
    for name, reason in sorted(done.lost.items()):
        say(f"{name}: {reason}", err=True)
    if done.failed or done.lost:
        raise typer.Exit(1)


@contextmanager
def _resumable() -> Iterator[None]:
    """End in order on Ctrl-C and SIGTERM, with the exit code that a shell gives to these."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        say("turnlog: interrupted; run it again to make what is missing", err=True)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _outputs(text: str, known: Collection[str]) -> list[str]:
    """The outputs named in a comma-separated text. Raises `BadChoice`."""
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [name for name in chosen if name not in known]:
        raise BadChoice(f"there is no output {unknown[0]!r}; --what takes: {', '.join(known)}")
    if not chosen:
        raise BadChoice(f"--what is empty; it takes: {', '.join(known)}")
    return chosen


def _show(done: Summary, outputs: int) -> None:
    there = done.partitions * outputs - done.written
    say(
        f"{plural(done.partitions, 'partition')}, {plural(done.sessions, 'session')}: "
        f"{plural(done.written, 'file')} written, {there:,} there already"
    )
