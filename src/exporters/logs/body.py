"""The request body of a log line, field for field as the reference posts it (reference: ``_sync_push_log``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from eventstore.hooks.arguments import ALTERED, encode_args
from projections.model import LogLine

SERVICE = "videosdk-otel-telemetry-agents"
SDK_NAME, SDK_VERSION = "AGENTS", "1.0.2"


class Line(NamedTuple):
    """An immutable log line, independent of the record it was made from."""

    level: str
    logger: str
    message: str
    created: float
    """Seconds since the epoch."""
    attributes: Mapping[str, Any]


def body(line: Line, context: Mapping[str, Any]) -> bytes:
    """The line as JSON; ``dateTime`` is local time to the millisecond. Values that JSON cannot represent become text.

    The keys read from ``context`` are ``roomId``, ``peerId``, ``sessionId``, ``sdk_name``, ``sdk_version`` and
    ``service_name``.
    """
    created = datetime.fromtimestamp(line.created)  # noqa: DTZ006 - the reference writes local time without a zone
    service = context.get("service_name", SERVICE)
    attributes = {
        "roomId": context.get("roomId", ""),
        "peerId": context.get("peerId", ""),
        "sessionId": context.get("sessionId", ""),
        "sdk.name": context.get("sdk_name") or SDK_NAME,
        "sdk.version": context.get("sdk_version") or SDK_VERSION,
        "service.name": service,
        "dateTime": created.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3],
        "origin": line.logger,
        "level": line.level,
        **line.attributes,
    }
    return _encode(
        {
            "logType": line.level,
            "logText": line.message,
            "attributes": attributes,
            "debugMode": False,
            "dashboardLog": False,
            "serviceName": service,
        }
    )


def _encode(value: dict[str, Any]) -> bytes:
    data = encode_args(value)
    if ALTERED.encode() not in data:
        return data
    plain = orjson.loads(data)
    plain.pop(ALTERED, None)  # endpoints expect the reference's fields only
    return orjson.dumps(plain)


def headers(jwt_key: str, custom_headers: Mapping[str, str] | None) -> dict[str, str]:
    """Request headers: the custom ones, or else the key as ``Authorization``."""
    if custom_headers:
        return {"Content-Type": "application/json", **custom_headers}
    return {"Content-Type": "application/json"} | ({"Authorization": jwt_key} if jwt_key else {})


def identity(line: LogLine) -> bytes:
    """A line's stable content, for `exporters.delivery.destination.Destination.encode`.

    Omits what may change later (its place in the call, the session's name) or differ elsewhere (the local time).
    """
    return json.dumps((line.level, line.logger, line.message, line.attributes, line.created, line.turn_id)).encode()
