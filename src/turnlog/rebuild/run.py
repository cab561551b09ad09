"""Running the tasks of a rebuild: in this process, in a local cluster, or on one that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from eventstore.errors import StoreError, StoreUnavailable, TurnlogError
from exporters.archive.place import Place
from turnlog.rebuild import task as tasks
from turnlog.rebuild.cluster import existing_cluster, local_cluster
from turnlog.rebuild.task import Result, Task, path_of

REPORT = "report.json"


class Summary(NamedTuple):
    """The result of a rebuild, which its report has too."""

    partitions: int
    sessions: int
    written: int
    """Number of files; the others were there already."""
    removed: int
    """Number of files of partitions that the archive no longer has."""
    failed: dict[str, str]
    """Sessions that could not be replayed, with the reason."""
    lost: dict[str, str]
    """Partitions that could not be rebuilt, with the reason."""


def rebuild(
    archive: str,
    out: str,
    rules: str,
    what: Sequence[str],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    on_planned: Callable[[int], object] = lambda partitions: None,
    on_done: Callable[[int], object] = lambda partitions: None,
) -> Summary:
    """Write the outputs of each partition of the archive, and the report, to ``out``.

    Without a ``scheduler`` a local cluster of that many ``workers`` is started; one worker is this process. The
    functions are called with numbers of partitions. Raises `StoreError`.
    """
    source, target = Place(archive), Place(out)
    todo = list(tasks.tasks(source, target, rules, what))
    if not todo:
        raise StoreError(f"no archive at {source.name}; make one with: turnlog archive build --to {source.name}")
    on_planned(len(todo))
    done = Summary(len(todo), 0, 0, 0, {}, {})
    with target.exclusive():
        for task, result in _run(todo, workers, scheduler):
            on_done(1)
            if isinstance(result, Result):
                done = done._replace(
                    sessions=done.sessions + result.sessions,
                    written=done.written + result.written,
                    failed=done.failed | result.failed,
                )
            else:
                done.lost[task.partition.path("events")] = str(result) or type(result).__name__
        done = done._replace(removed=_remove_others(target, {task.partition for task in todo}, rules, what))
        with target.write(REPORT) as file:
            file.write(msgspec.json.format(msgspec.json.encode({"rules": rules, "what": what, **done._asdict()})))
    return done


def _run(todo: list[Task], workers: int, scheduler: str | None) -> Iterator[tuple[Task, Result | Exception]]:
    """Each task with its result, or its error, as they are done."""
    if workers == 1 and scheduler is None:
        for task in todo:
            try:
                yield task, tasks.run(task)
            except TurnlogError as error:
                yield task, error
        return
    from distributed import as_completed
    from distributed.scheduler import NoWorkerError

    chosen = local_cluster(min(workers, len(todo))) if scheduler is None else existing_cluster(scheduler)
    with chosen as client:
        # not pure: the same task is to look again at what is there
        futures = {client.submit(tasks.run_in_worker, task, pure=False, retries=2): task for task in todo}
        for future in as_completed(futures, loop=client.loop):
            failure = future.exception()
            if isinstance(failure, NoWorkerError):
                raise StoreUnavailable(
                    "the rebuild has no worker left; run it again, and it goes on with what is missing"
                ) from failure
            yield futures[future], future.result() if failure is None else failure


def _remove_others(out: Place, kept: set[Any], rules: str, what: Sequence[str]) -> int:
    """Remove the files of partitions that the archive no longer has; returns their number."""
    gone = [
        path_of(partition, each, rules)
        for each in what
        for partition in out.partitions(f"{each}/rules={rules}")
        if partition not in kept
    ]
    for path in gone:
        out.remove(path)
    return len(gone)
