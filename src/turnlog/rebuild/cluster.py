"""The Dask cluster that runs a rebuild: one started here, or one that is there already."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

from eventstore.errors import StoreError, StoreUnavailable
from turnlog.rebuild import task

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 20
NO_WORKERS_SECONDS = 60
"""A rebuild without any worker fails after this time."""
SETTINGS = {
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.no-workers-timeout": f"{NO_WORKERS_SECONDS}s",
    "distributed.worker.multiprocessing-method": "forkserver",
    # monitors that would take a sixth of a core, as the dashboard would
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
_OPTIONS: dict[str, Any] = {
    "threads_per_worker": 1,
    "processes": True,
    "host": "127.0.0.1",
    "dashboard_address": None,
    "worker_dashboard_address": None,
    "memory_limit": 0,  # a task's memory is bounded; a session larger than a worker's share would be killed each time
    "silence_logs": logging.CRITICAL,
}


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A client of a cluster of that many processes on this machine, which ends with it. Raises `StoreUnavailable`."""
    _start_forkserver()
    import dask
    from distributed import Client, LocalCluster

    _silence()
    with dask.config.set(SETTINGS):
        try:
            cluster = LocalCluster(n_workers=workers, **_OPTIONS)
        except (RuntimeError, OSError) as error:
            raise StoreUnavailable(f"the worker processes did not start: {error}; run it again") from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def _start_forkserver() -> None:
    """Start the process that workers are forked from: their imports are done once, while this process does its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distributed", task.__name__])
    with _ignoring_interrupts():  # workers inherit that: on Ctrl-C this process ends them
        forkserver.ensure_running()


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def existing_cluster(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler at this address. Raises `StoreError` if there is none, or if it has no worker."""
    from distributed import Client

    _silence()
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"no scheduler at {scheduler}: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=NO_WORKERS_SECONDS)
        except TimeoutError:
            raise StoreError(f"{scheduler} has no worker; start one with: dask worker {scheduler}") from None
        yield client


def _silence() -> None:
    logging.getLogger("distributed").setLevel(logging.ERROR)  # restarts of workers are routine
