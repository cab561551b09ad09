"""Drop-in for the reference's ``LogManager``: a thread that sends log records to a log endpoint.

Records arrive in order, at least once: a connection lost after the endpoint stored a record looks the same as one lost
before, so the record is sent again.
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
"""Maximum number of queued records."""


class LogManager:
    """One per job::

        manager = LogManager()
        manager.start()
        logger = JobLogger(manager.get_queue(), room_id, peer_id, token, send_logs_to_dashboard=True)
        ...  # records are queued, and sent once `update_endpoint` or `JobLogger.set_endpoint` was called
        logger.cleanup()
        manager.stop()

    Failed requests are retried with exponential backoff, or after the endpoint's ``Retry-After``; refused records (4xx)
    are counted in `health`. A forked child has an empty queue and no thread: call `start` there. `start` after `stop`
    resumes with the same endpoint.
    """

    def __init__(
        self,
        batch_size: int = 50,
        flush_interval_seconds: float = 5.0,
        *,
        arrays: bool = False,
        limit: int = LIMIT,
    ) -> None:
        """``arrays``: the endpoint accepts a JSON array of records, so a batch is one request."""
        self.queue = LogQueue(limit, max(1, batch_size))
        self._interval = flush_interval_seconds
        self._arrays = arrays
        self._sender: _Sender | None = None

    def start(self, auth_token: str = "") -> None:
        """Start sending. ``auth_token`` is ignored, for compatibility."""
        if self._sender is None or not self._sender.is_alive():
            # create the client here: in the thread, httpx might still be importing when this process forks
            self._sender = _Sender(client(), self.queue, self._interval, self._arrays)
            self._sender.start()

    def update_endpoint(
        self, endpoint: str, jwt_key: str = "", custom_headers: Mapping[str, str] | None = None
    ) -> None:
        """Set the endpoint, and ``custom_headers`` or else ``jwt_key`` as ``Authorization``."""
        self.queue.set_endpoint(endpoint, jwt_key, custom_headers)

    def stop(self, timeout: float = 5.0) -> int:
        """Flush for up to ``timeout`` seconds and stop; return the number of records lost, or possibly lost.

        Does nothing if not started. Records logged later wait for the next `start`.
        """
        sender, self._sender = self._sender, None
        if sender is None:
            return 0
        sender.deadline = time.monotonic() + timeout
        self.queue.close()
        sender.join(timeout)
        lost = self.queue.abandon()
        if lost:
            reason = self.queue.last_error or ("no endpoint was set" if not self.queue.endpoint.url else "timeout")
            log.warning("%d log records were not sent: %s", lost, reason)
        return lost

    def get_queue(self) -> LogQueue:
        """The queue to pass to a `JobLogger`."""
        return self.queue

    @property
    def health(self) -> LogHealth:
        return self.queue.health


class _Sender(threading.Thread):
    """Sends until the queue's round ends."""

    def __init__(self, to: Client, queue: LogQueue, interval_seconds: float, arrays: bool) -> None:
        super().__init__(name=THREAD, daemon=True)
        self._to, self._queue, self._interval, self._arrays = to, queue, interval_seconds, arrays
        self._number = queue.open()
        self.deadline: float | None = None
        """On the monotonic clock; set by `LogManager.stop`."""
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
        """Send one request with retries; False if the deadline has passed."""
        try:
            retrying = Retrying(
                retry=retry_if_exception_type(Busy),
                wait=pause(),
                stop=self._is_over,
                sleep=lambda seconds: self._queue.pause(self._number, seconds, self._closing),
                before_sleep=self._log_retry,
                reraise=True,
            )
            retrying(self._post, content)
        except Busy as error:
            self._queue.last_error = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - counted and logged; later records must still be sent
            reason = str(error) if isinstance(error, Refused) else f"{type(error).__name__} while posting"
            if reason != self._queue.last_error:
                log.warning("a log record was refused: %s", reason)
            self._queue.settle(self._number, records, reason)
        else:
            self._queue.settle(self._number, records)
        return True

    def _post(self, content: bytes) -> None:
        endpoint = self._queue.endpoint  # read each time: the key may have been renewed
        if not endpoint.url:
            raise Busy("the log endpoint was removed")
        post(self._to, endpoint.url, content, endpoint.headers())

    def _is_over(self, state: RetryCallState) -> bool:
        self._closing = self.deadline is not None
        return self.deadline is not None and time.monotonic() + state.upcoming_sleep >= self.deadline

    def _log_retry(self, state: RetryCallState) -> None:
        reason = str(state.outcome.exception()) if state.outcome is not None else ""
        if reason != self._queue.last_error:
            log.warning("log records are waiting: %s", reason)
            self._queue.last_error = reason
