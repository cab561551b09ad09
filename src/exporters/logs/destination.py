"""The destination for a call's log lines; the bodies are those that `exporters.reference.job_logger` posts live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporters.delivery.http import check_sendable, client, post, redact_url
from exporters.logs.body import Line, body, headers, identity
from projections.caller import RULES as TURNLOG
from projections.caller import Reading
from projections.model import LogLine
from projections.reference.replay import Call


class SentLine(NamedTuple):
    line: LogLine
    session_id: str


class HttpLogs:
    """A `Destination` for log lines. With ``arrays``, a batch is one JSON array; else each record is a request."""

    rules = TURNLOG

    def __init__(
        self,
        endpoint: str,
        room_id: str = "",
        peer_id: str = "",
        *,
        jwt_key: str = "",
        custom_headers: Mapping[str, str] | None = None,
        arrays: bool = False,
    ) -> None:
        """``custom_headers`` take the place of ``jwt_key`` as ``Authorization``, as in the reference.

        Raises `NotConfigured`.
        """
        self.name = f"logs-http {redact_url(endpoint)}"
        self.batch = 50 if arrays else 1
        self._endpoint, self._arrays = endpoint, arrays
        self._room_id, self._peer_id = room_id, peer_id
        self._headers = headers(jwt_key, custom_headers)
        check_sendable(endpoint, self._headers)
        self._client = client()

    def items(self, call: Call | Reading) -> list[SentLine]:
        """The lines, each with the framework's session id, or else the session's name in the log."""
        session_id = str(call.session.session_id or call.session_name)
        return [SentLine(line, session_id) for line in call.logs]

    def encode(self, item: SentLine) -> bytes:
        return identity(item.line)

    def send(self, items: Sequence[SentLine]) -> None:
        bodies = [
            body(_final(item.line), {"roomId": self._room_id, "peerId": self._peer_id, "sessionId": item.session_id})
            for item in items
        ]
        for content in [b"[" + b",".join(bodies) + b"]"] if self._arrays else bodies:
            post(self._client, self._endpoint, content, self._headers)

    def close(self) -> None:
        self._client.close()


def _final(line: LogLine) -> Line:
    return Line(line.level, line.logger, line.message, line.created, line.attributes)
