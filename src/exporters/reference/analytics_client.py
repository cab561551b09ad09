"""Drop-in for the reference's ``AnalyticsClient``, with retries instead of fire-and-forget.

Payloads are queued in memory, and a thread posts them in order, each until it is accepted or refused. It needs no event
loop and never raises into the agent. Payloads not sent when the process ends are lost: where calls are recorded, prefer
delivery from the log (`exporters.delivery.outbox`), which loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set
from tenacity.nap import sleep_using_event

from exporters.analytics.destination import BASE_URL, Post, Routing, routing
from exporters.delivery.destination import Busy, Refused
from exporters.delivery.http import TIMEOUT_SECONDS, client
from exporters.delivery.retry import pause

log = logging.getLogger("turnlog.analytics")

LIMIT = 1000
"""Maximum number of queued posts; beyond it, the oldest is dropped."""


class AnalyticsHealth(NamedTuple):
    """Counts of posts; a turn may take two of them (`Routing.vendor_first_turn`)."""

    waiting: int
    sent: int
    refused: int
    """Rejected for good, and lost."""
    dropped: int
    """Lost because more than `LIMIT` were queued, or the client was closed."""
    last_error: str | None


class AnalyticsClient:
    """Sends analytics payloads of one session after another. Use it as a context manager, or `close` it.

    Unlike the reference's it is not a singleton, and reads the environment when it is created or configured.
    """

    def __init__(
        self,
        session_id: str | None = None,
        metrics_options: Any = None,
        *,
        token: str | None = None,
        vendor_first_turn: bool = False,
        base_url: str = BASE_URL,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """``metrics_options`` are those of `configure`. Raises `NotConfigured`."""
        self.session_id = session_id
        self._route = partial(routing, token=token, vendor_first_turn=vendor_first_turn, base_url=base_url)
        self._changed = threading.Condition()
        self._queue: deque[tuple[Routing, Post]] = deque()
        self._sending = 0
        """1 while the thread sends a post it has taken off the queue."""
        self._sent = self._refused = self._dropped = 0
        self._last_error: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._client = client(timeout_seconds)
        try:
            self.configure(metrics_options)
        except BaseException:
            self._client.close()
            raise

    # the reference's methods -----------------------------------------------------------------------------------

    def configure(self, metrics_options: Any) -> None:
        """Apply ``enabled``, ``export_url`` and ``export_headers``, and restart the turn count.

        Raises `NotConfigured`; then nothing is changed.
        """
        routes = self._route(
            enabled=getattr(metrics_options, "enabled", True),
            export_url=getattr(metrics_options, "export_url", None),
            export_headers=getattr(metrics_options, "export_headers", None),
        )
        with self._changed:
            self._routing, self.turn_count = routes, 0

    def set_session_id(self, session_id: str) -> None:
        """Set the vendor's session id for the payloads to come."""
        self.session_id = session_id

    async def send_interaction_analytics(self, interaction_data: dict[str, Any]) -> None:
        """The same as `send_interaction_analytics_safe`; it does not wait."""
        self.send_interaction_analytics_safe(interaction_data)

    def send_interaction_analytics_safe(self, interaction_data: dict[str, Any]) -> None:
        """Queue a copy of a turn's payload. Returns at once and never raises; see `health`."""
        try:
            with self._changed:
                self.turn_count += 1
                session_id = str(self.session_id or interaction_data.get("sessionId") or "")
                routes = self._routing
                for posted in routes.posts(self.turn_count, interaction_data, session_id, session_id):
                    self._add(routes, posted)
        except Exception as error:  # noqa: BLE001 - user objects; the agent must not fail
            self._refuse(error if isinstance(error, Refused) else Refused(f"no payload: {type(error).__name__}"))

    # lifecycle -------------------------------------------------------------------------------------------------

    @property
    def health(self) -> AnalyticsHealth:
        with self._changed:
            return AnalyticsHealth(
                len(self._queue) + self._sending, self._sent, self._refused, self._dropped, self._last_error
            )

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until the queue is empty; False if that takes longer than ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._sending, timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Flush and stop; posts not sent within ``timeout`` seconds are dropped. True if none were."""
        until = time.monotonic() + timeout
        self.flush(timeout)
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))
        else:
            self._client.close()
        with self._changed:
            lost, self._sending = len(self._queue) + self._sending, 0
            self._queue.clear()
            self._drop(lost)
        return lost == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # internals -------------------------------------------------------------------------------------------------

    def _add(self, routes: Routing, posted: Post) -> None:
        if self._stop.is_set():
            self._drop(1)
            return
        if len(self._queue) == LIMIT:
            self._queue.popleft()
            self._drop(1)
        self._queue.append((routes, posted))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="turnlog-analytics", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _drop(self, count: int) -> None:
        self._dropped += count
        if count:
            log.warning("analytics: %d posts dropped", count)

    def _refuse(self, error: Refused) -> None:
        with self._changed:
            self._refused += 1
            self._last_error = str(error)
        log.error("analytics: refused: %s", error)

    def _run(self) -> None:
        with self._client:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._stop.is_set())
                    if self._stop.is_set():
                        return
                    head = self._queue.popleft()
                    self._sending = 1
                accepted = self._post(*head)
                if accepted is None:
                    return
                with self._changed:
                    self._sent += accepted and self._sending  # `close` may have counted it as dropped
                    self._sending = 0
                    self._changed.notify_all()

    def _post(self, routes: Routing, posted: Post) -> bool | None:
        """True if accepted, False if refused; None if the client was closed before either."""
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(Busy),
                wait=pause(),
                stop=stop_when_event_set(self._stop),
                sleep=sleep_using_event(self._stop),
                before_sleep=self._log_retry,
                reraise=True,
            ):
                with attempt:
                    routes.send(self._client, posted)
        except Busy:
            return None
        except Refused as error:
            self._refuse(error)
            return False
        except Exception as error:  # noqa: BLE001 - the thread must survive
            self._refuse(Refused(f"not sent: {type(error).__name__}"))
            return False
        return True

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        with self._changed:
            self._last_error = str(error)
        log.warning("analytics: will retry: %s", error)
