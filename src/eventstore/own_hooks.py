"""The hooks that are ours, not the reference's. None of them changes a turn, payload, span or signal."""

from __future__ import annotations

from typing import Any

from eventstore.arguments import scrubbed
from eventstore.recording import Record


class OwnHooks:
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
        the traceback if there is one. A session begins with its first event, and that may be one of these.
        """
        args = {"level": level, "logger": logger, "message": message, "created": created, "attributes": attributes}
        self._record("log_record", args, scrubbed)

    def set_framework(self, name: str, version: str) -> None:
        """Which framework this session runs in; an adapter says so first."""
        self._record("set_framework", {"name": name, "version": version})

    def framework_event(self, name: str, arguments: dict[str, Any]) -> None:
        """What a framework did that no hook is for, kept for rules to come."""
        self._record("framework_event", {"name": name, "arguments": arguments}, scrubbed)
