"""Prepared statements in libpq's pipeline mode: several in one round trip, sent while the server runs earlier ones.

psycopg has pipelines too, but adapting parameters and bookkeeping cost more there than a small append does. Here
parameters are binary already (`binary`), and a statement is prepared on its first use. Nothing waits inside libpq:
psycopg's own generators and `psycopg.Connection.wait` do all of it, so other threads run and Ctrl-C cancels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg
from psycopg import generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format, PipelineStatus
from psycopg.pq.abc import PGresult


class Statement(NamedTuple):
    """SQL with parameters ``$1``, ``$2``, …, and the name under which a connection prepares it."""

    name: bytes
    query: bytes


class Pipeline:
    """One use of a connection in pipeline mode. What was sent since the last `sync` is one transaction.

    Leaving it early, for whatever reason, closes the connection, and the server rolls the open transaction back.
    """

    def __init__(self, driver: psycopg.Connection[Any], prepared: set[bytes]) -> None:
        """``prepared``: the names of the statements prepared on this connection, kept up to date."""
        self._driver, self._connection, self._prepared = driver, driver.pgconn, prepared
        self._prepares = driver.prepare_threshold is not None  # None behind a pooler
        self._pending: deque[bytes | None] = deque()
        """What was sent and not answered yet: the name of a statement being prepared, else None."""

    def __enter__(self) -> Self:
        self._connection.enter_pipeline_mode()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._connection.pipeline_status != PipelineStatus.OFF:
            self._driver.close()

    def send(self, statement: Statement, parameters: Sequence[bytes] = ()) -> None:
        """Send a statement with its parameters in binary; returns once the system has taken it."""
        name, query = statement
        formats = [Format.BINARY] * len(parameters)
        if not self._prepares:
            self._connection.send_query_params(query, parameters, None, formats, Format.BINARY)
        else:
            if name not in self._prepared:
                self._prepared.add(name)
                self._connection.send_prepare(name, query)
                self._pending.append(name)
            self._connection.send_query_prepared(name, parameters, formats, Format.BINARY)
        self._pending.append(None)
        self._flush()

    def ask(self, statement: Statement, parameters: Sequence[bytes]) -> PGresult:
        """Send a statement and wait for its result. Raises the first error since the last `sync`."""
        self.send(statement, parameters)
        self._connection.send_flush_request()
        self._flush()
        return self._receive()[-1]

    def sync(self) -> None:
        """End the transaction: committed, unless a statement in it fails."""
        self._connection.pipeline_sync()
        self._pending.append(None)

    def finish(self) -> None:
        """Wait for all answers and leave pipeline mode. Raises the first error."""
        self._flush()
        try:
            self._receive()
        finally:
            if not self._pending:
                self._connection.exit_pipeline_mode()

    def _flush(self) -> None:
        if self._connection.flush():
            self._driver.wait(generators.send(self._connection))

    def _receive(self) -> list[PGresult]:
        """The results of everything pending."""
        found: list[PGresult] = []
        error: psycopg.Error | None = None
        try:
            while self._pending:
                results = self._driver.wait(generators.fetch_many(self._connection))
                name = self._pending.popleft()
                failed = [result for result in results if result.status == ExecStatus.FATAL_ERROR]
                if failed:
                    error = error or error_from_result(failed[0], encoding="utf-8")
                if name is not None and results[0].status != ExecStatus.COMMAND_OK:
                    self._prepared.discard(name)
                found += results
        except psycopg.OperationalError as lost:
            raise error or lost from lost
        if error is not None:
            raise error
        return found
