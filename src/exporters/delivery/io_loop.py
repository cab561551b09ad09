"""The event loop for all outgoing HTTP: one daemon thread per process, started on first use.

A request on the loop can be cancelled wherever it waits (name lookup, connection, TLS, body). The socket timeout of a
blocking client cannot do that: it applies per operation, and a byte now and then keeps it from firing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")

THREAD = "turnlog-io"
"""Starts with the prefix of threads whose log lines `exporters.reference.job_logger` ignores."""


class _Loop(asyncio.SelectorEventLoop):
    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> Any:
        """Look the name up in a daemon thread, so that a hanging resolver does not delay the end of the process.

        asyncio's thread pool would delay it, and accepts no work once the interpreter exits, when exit handlers flush.
        """
        found: asyncio.Future[Any] = self.create_future()

        def settle(answer: Any, error: OSError | None) -> None:
            if found.done():  # cancelled
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
                self.call_soon_threadsafe(settle, None, OSError(f"not a valid host name: {type(error).__name__}"))

        threading.Thread(target=look_up, name=f"{THREAD}-name", daemon=True).start()
        return await found


def run_in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop, wait for it and return its result. Call it from any thread but the loop's."""
    future = asyncio.run_coroutine_threadsafe(work, _running())
    try:
        return future.result()
    except BaseException:  # from the coroutine (cancel does nothing then), or a KeyboardInterrupt here
        future.cancel()
        raise


_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
"""The last one is this process's, if ``_alive``; the others belong to parent processes, whose sockets they share: they
are kept so that garbage collection does not close those."""
_alive = False


def _running() -> asyncio.AbstractEventLoop:
    global _alive  # noqa: PLW0603 - the process has one
    with _lock:
        if not _alive:
            made: Future[asyncio.AbstractEventLoop] = Future()
            threading.Thread(target=_serve, args=(made,), name=THREAD, daemon=True).start()
            _loops.append(made.result())
            _alive = True
        return _loops[-1]


def _serve(made: Future[asyncio.AbstractEventLoop]) -> None:
    """Make the loop and run it. Made here, as asyncio logs that, and an agent's handlers leave out our threads."""
    try:
        loop = _Loop()
    except OSError as error:  # no descriptor is left
        made.set_exception(error)
        return
    made.set_result(loop)
    loop.run_forever()


def _after_fork() -> None:
    """Reset the state: the thread exists in the parent only, and may have held the lock."""
    global _alive, _lock
    _alive, _lock = False, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
