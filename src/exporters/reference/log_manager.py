"""Sends log records to a log endpoint, from a thread of its own; the reference's ``LogManager`` for those who know it.

Records arrive in order. One that was posted twice may arrive twice, as an endpoint that took it and then lost the
connection cannot be told from one that did not take it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from exporters.delivery.destination import Busy, Refused
from exporters.delivery.http import Client, client, post
from exporters.delivery.retry import pause
from exporters.reference.log_queue import LogHealth, LogQueue

log = logging.getLogger("turnlog")

THREAD = "turnlog-logs"
LIMIT = 10_000
"""Records kept while they cannot be sent."""


class LogManager:
    """One per job::

        manager = LogManager()
        manager.start()
        logger = JobLogger(manager.get_queue(), room_id, peer_id, token, send_logs_to_dashboard=True)
        ...  # records are kept from now on, and sent once `update_endpoint` or `JobLogger.set_endpoint` says where
        logger.cleanup()
        manager.stop()

    What cannot be sent now is tried again, after as long as the endpoint asked for or an exponential pause; what the
    endpoint refuses (4xx) is counted in `health`. After a fork the child has none of the records and no thread: call
    `start` there. `start` after `stop` goes on, with the endpoint that is known.
    """

    def __init__(
        self,
        batch_size: int = 50,
        flush_interval_seconds: float = 5.0,
        *,
        arrays: bool = False,
        limit: int = LIMIT,
    ) -> None:
        """``arrays``: the endpoint takes a JSON array of records, so that a batch is one request, not many."""
        self.queue = LogQueue(limit, max(1, batch_size))
        self._interval = flush_interval_seconds
        self._arrays = arrays
        self._sender: _Sender | None = None

    def start(self, auth_token: str = "") -> None:
        """Begin to send. ``auth_token`` is not used, nor kept; the reference takes it."""
        if self._sender is None or not self._sender.is_alive():
            # the client is made here: in the thread, httpx would still be importing when this process forks
            self._sender = _Sender(client(), self.queue, self._interval, self._arrays)
            self._sender.start()

    def update_endpoint(
        self, endpoint: str, jwt_key: str = "", custom_headers: Mapping[str, str] | None = None
    ) -> None:
        """Where to post, with ``custom_headers`` or else with ``jwt_key`` as ``Authorization``."""
        self.queue.set_endpoint(endpoint, jwt_key, custom_headers)

    def stop(self, timeout: float = 5.0) -> int:
        """Send what can be sent in ``timeout`` seconds; returns how many records were lost, or may have been.

        Nothing if it does not run. Records that are logged later wait for the next `start`.
        """
        sender, self._sender = self._sender, None
        if sender is None:
            return 0
        sender.give_up_at = time.monotonic() + timeout
        self.queue.close()
        sender.join(timeout)
        lost = self.queue.abandon()
        if lost:
            reason = self.queue.last_error or ("no endpoint was set" if not self.queue.endpoint.url else "no time left")
            log.warning("%d log records were not sent: %s", lost, reason)
        return lost

    def get_queue(self) -> LogQueue:
        """What a `JobLogger` takes."""
        return self.queue

    @property
    def health(self) -> LogHealth:
        return self.queue.health


class _Sender(threading.Thread):
    """Sends until the queue's round is over."""

    def __init__(self, to: Client, queue: LogQueue, interval_seconds: float, arrays: bool) -> None:
        super().__init__(name=THREAD, daemon=True)
        self._to, self._queue, self._interval, self._arrays = to, queue, interval_seconds, arrays
        self._number = queue.open()
        self.give_up_at: float | None = None
        """On the monotonic clock, once somebody waits for the end."""
        self._closing = False

    def run(self) -> None:
        with self._to:
            while bodies := self._queue.take(self._number, self._interval):
                requests = (
                    [(b"[" + b",".join(bodies) + b"]", len(bodies))] if self._arrays else [(b, 1) for b in bodies]
                )
                for content, records in requests:
                    if not self._deliver(content, records):
                        return

    def _deliver(self, content: bytes, records: int) -> bool:
        """False if there is no time left to try."""
        try:
            retrying = Retrying(
                retry=retry_if_exception_type(Busy),
                wait=pause(),
                stop=self._is_over,
                sleep=lambda seconds: self._queue.pause(self._number, seconds, self._closing),
                before_sleep=self._note,
                reraise=True,
            )
            retrying(self._post, content)
        except Busy as error:
            self._queue.last_error = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - counted and logged; the records behind it go on
            reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__} while posting"
            if reason != self._queue.last_error:
                log.warning("a log record was refused: %s", reason)
            self._queue.settle(self._number, records, reason)
        else:
            self._queue.settle(self._number, records)
        return True

    def _post(self, content: bytes) -> None:
        endpoint = self._queue.endpoint  # read anew: the key may have been renewed
        if not endpoint.url:
            raise Busy("there is no log endpoint any more")
        post(self._to, endpoint.url, content, endpoint.headers())

    def _is_over(self, state: RetryCallState) -> bool:
        self._closing = self.give_up_at is not None
        return self.give_up_at is not None and time.monotonic() + state.upcoming_sleep >= self.give_up_at

    def _note(self, state: RetryCallState) -> None:
        reason = str(state.outcome.exception()) if state.outcome is not None else ""
        if reason != self._queue.last_error:
            log.warning("log records wait: %s", reason)
            self._queue.last_error = reason
