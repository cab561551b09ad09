"""The hook for log lines. It is ours, not the reference's: what an agent logs stands in the log beside what it did."""

from __future__ import annotations

from typing import Any

from eventstore.recording import Record


class LogHooks:
    _record: Record

    def log_record(
        self,
        level: str,
        logger: str,
        message: str,
        created: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        """A line of the agent's own log; ``created`` in seconds since the epoch, None is now.

        ``level`` and ``logger`` are names (``"WARNING"``, ``"my_agent.tools"``), ``message`` is the whole text, with
        the traceback if there is one. It changes no turn, payload, span or signal; but a session begins with its first
        event, and that may be one of these.
        """
        args = {"level": level, "logger": logger, "message": message, "created": created, "attributes": attributes}
        self._record("log_record", args)
