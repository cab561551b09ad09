"""The event loop that all outgoing HTTP runs on: one daemon thread of the process, started when it is first needed.

A request that runs here can be cancelled wherever it waits (name, connection, TLS, body), which no socket timeout of a
blocking client can: that one is per operation, and a byte now and then keeps it from firing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

THREAD = "turnlog-io"
"""Begins as the name of every thread does whose log lines `exporters.reference.job_logger` must not send."""


class _Loop(asyncio.SelectorEventLoop):
    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> Any:
        """Names are looked up in a daemon thread: no resolver that hangs delays the end of the process.

        asyncio's own pool of threads does, and takes no work once the interpreter is ending, when exit handlers flush.
        """
        found: asyncio.Future[Any] = self.create_future()

        def settle(answer: Any, error: OSError | None) -> None:
            if found.done():  # it was cancelled
                return
            if error is None:
                found.set_result(answer)
            else:
                found.set_exception(error)

        def look_up() -> None:
            try:
                self.call_soon_threadsafe(settle, socket.getaddrinfo(host, port, **hints), None)
            except OSError as error:
                self.call_soon_threadsafe(settle, None, error)
            except (UnicodeError, OverflowError) as error:
                self.call_soon_threadsafe(settle, None, OSError(f"no name to look up: {type(error).__name__}"))

        threading.Thread(target=look_up, name=f"{THREAD}-name", daemon=True).start()
        return await found


def run_in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, run on the loop while this thread waits. Call it from any thread but the loop's."""
    future = asyncio.run_coroutine_threadsafe(work, _running())
    try:
        return future.result()
    except BaseException:  # of the coroutine, where this does nothing, or a KeyboardInterrupt here
        future.cancel()
        raise


_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
"""The last is this process's, if ``_alive``; those before it are of the processes it was forked from, whose sockets
they share: they are kept so that nothing collects and closes them."""
_alive = False


def _running() -> asyncio.AbstractEventLoop:
    global _alive  # noqa: PLW0603 - the process has one
    with _lock:
        if not _alive:
            _loops.append(_Loop())
            threading.Thread(target=_loops[-1].run_forever, name=THREAD, daemon=True).start()
            _alive = True
        return _loops[-1]


def _after_fork() -> None:
    """The thread is the parent's, and it may have held the lock."""
    global _alive, _lock
    _alive, _lock = False, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
