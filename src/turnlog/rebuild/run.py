"""Running the tasks of a rebuild: in this process, in a local cluster, or on one that is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from eventstore.errors import StoreError, TurnlogError
from exporters.archive.place import Place
from turnlog.rebuild import task as tasks
from turnlog.rebuild.task import Result, Task, path_of

if TYPE_CHECKING:
    from distributed import Client

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

    with _client(min(workers, len(todo)), scheduler) as client:
        # not pure: the same task is to look again at what is there
        futures = {client.submit(tasks.run, task, pure=False, retries=2): task for task in todo}
        for future in as_completed(futures, loop=client.loop):
            failure = future.exception()
            yield futures[future], future.result() if failure is None else failure


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)  # a worker that is started again is no news
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="20s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise StoreError(f"no scheduler at {scheduler}: {error}") from error
        with client:
            yield client
        return
    options: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "host": "127.0.0.1"}
    loopback = "127.0.0.1:0"  # also of the status pages, which would take a fixed port on all addresses
    options |= {"dashboard_address": loopback, "worker_dashboard_address": loopback}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10}),
        LocalCluster(**options, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


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
