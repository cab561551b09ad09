"""Drop-in for the reference's ``JobLogger``: a handler that captures an agent's own log lines.

Each record is formatted in the thread that logs it, so later changes of its arguments do not affect it. That thread
never waits for the network, and no exception reaches it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from eventstore.hooks.arguments import as_text
from eventstore.hooks.own import OwnHooks
from exporters.logs.body import SERVICE, Line, body
from exporters.reference.log_manager import LogManager
from exporters.reference.log_queue import Endpoint, LogHealth, LogQueue

__all__ = ["Endpoint", "JobLogger", "LogHealth", "LogManager", "LogQueue", "OwnHooks"]

OWN = "turnlog"
"""Loggers under this name and threads with this prefix are ignored: else a line that is logged while sending or
recording a line would be sent and recorded in turn, forever."""


class JobLogger:
    """Captures what is logged under ``namespace``, until `cleanup`.

    Records go to ``queue`` if ``send_logs_to_dashboard`` is on, and always to ``recorder`` as `log_record` events.
    ``extra={"log_attributes": {…}}`` of a logging call is added to the record's attributes.
    """

    def __init__(
        self,
        queue: LogQueue,
        room_id: str,
        peer_id: str,
        auth_token: str = "",
        session_id: str | None = None,
        dashboard_log_level: str = "INFO",
        sdk_metadata: Mapping[str, Any] | None = None,
        send_logs_to_dashboard: bool = False,
        *,
        namespace: str = "videosdk.agents",
        recorder: OwnHooks | None = None,
    ) -> None:
        """``auth_token`` is ignored, for compatibility. The ``namespace`` ``""`` is every logger.

        An unknown level is INFO. The logger's own level is lowered to it if need be, permanently.
        """
        self._queue = queue
        self._context: dict[str, Any] = {
            "roomId": room_id,
            "peerId": peer_id,
            "sessionId": session_id or "",
            "sdk_name": str(sdk_metadata.get("sdk", "AGENTS")).upper() if sdk_metadata else "",
            "sdk_version": sdk_metadata.get("sdk_version", "0.0.62") if sdk_metadata else "",
            "service_name": SERVICE,
            "send_logs_to_dashboard": send_logs_to_dashboard,
        }
        level = logging.getLevelNamesMapping().get(dashboard_log_level.upper(), logging.INFO)
        self._logger = logging.getLogger(namespace)
        if self._logger.getEffectiveLevel() > level:
            self._logger.setLevel(level)
        self._handler = _Handler(level, queue, self._context, recorder)
        self._logger.addHandler(self._handler)

    def update_context(self, **fields: Any) -> None:
        """Change fields of later records: ``roomId``, ``peerId``, ``sessionId``, ``sdk_name``, …"""
        self._context.update(fields)

    def set_endpoint(self, endpoint: str, jwt_key: str = "", custom_headers: Mapping[str, str] | None = None) -> None:
        """Set the endpoint, for queued records too; see `LogManager.update_endpoint`."""
        self._queue.set_endpoint(endpoint, jwt_key, custom_headers)

    def cleanup(self) -> None:
        """Stop capturing."""
        self._logger.removeHandler(self._handler)
        self._handler.close()


class _Handler(logging.Handler):
    def __init__(self, level: int, queue: LogQueue, context: dict[str, Any], recorder: OwnHooks | None) -> None:
        super().__init__(level)
        self._queue, self._context, self._recorder = queue, context, recorder

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == OWN or threading.current_thread().name.startswith(OWN):
            return
        try:
            context = vars(record) | self._context
            line = self._line(record, context)
            if context["send_logs_to_dashboard"]:
                self._queue.put_nowait(body(line, context))
            if self._recorder is not None:
                attributes = dict(line.attributes) or None
                self._recorder.log_record(line.level, line.logger, line.message, line.created, attributes)
        except Exception as error:  # noqa: BLE001 - counted; the agent must not fail
            self._queue.count_lost(f"a log record could not be kept: {type(error).__name__}")

    def _line(self, record: logging.LogRecord, context: Mapping[str, Any]) -> Line:
        attributes = context.get("log_attributes")
        valid = attributes if isinstance(attributes, Mapping) else {}
        return Line(record.levelname, record.name, self._text(record), record.created, valid)

    def _text(self, record: logging.LogRecord) -> str:
        """The message, followed by the traceback and the stack, if any (reference: ``QueueHandler.prepare``).

        A message that does not fit its arguments is kept without them.
        """
        try:
            return self.format(record)
        except Exception:  # noqa: BLE001 - user arguments
            return as_text(record.msg)
