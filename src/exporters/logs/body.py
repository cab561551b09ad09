"""A log line as the reference posts it to a log endpoint, field for field (reference: ``_sync_push_log``)."""

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
    """What is said: final, whatever becomes of what it was made of."""

    level: str
    logger: str
    message: str
    created: float
    """Seconds since the epoch."""
    attributes: Mapping[str, Any]


def body(line: Line, context: Mapping[str, Any]) -> bytes:
    """JSON; ``dateTime`` is local time to the millisecond. What JSON cannot carry becomes text.

    ``context`` has ``roomId``, ``peerId``, ``sessionId``, ``sdk_name``, ``sdk_version`` and ``service_name``; nothing
    else of it is looked at.
    """
    moment = datetime.fromtimestamp(line.created)  # noqa: DTZ006 - the reference's, which names no zone
    service = context.get("service_name", SERVICE)
    attributes = {
        "roomId": context.get("roomId", ""),
        "peerId": context.get("peerId", ""),
        "sessionId": context.get("sessionId", ""),
        "sdk.name": context.get("sdk_name") or SDK_NAME,
        "sdk.version": context.get("sdk_version") or SDK_VERSION,
        "service.name": service,
        "dateTime": moment.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3],
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
    plain.pop(ALTERED, None)  # an endpoint expects the reference's fields, and no others
    return orjson.dumps(plain)


def headers(jwt_key: str, custom_headers: Mapping[str, str] | None) -> dict[str, str]:
    """Of a post: the custom headers, or else the key as ``Authorization``."""
    if custom_headers:
        return {"Content-Type": "application/json", **custom_headers}
    return {"Content-Type": "application/json"} | ({"Authorization": jwt_key} if jwt_key else {})


def identity(line: LogLine) -> bytes:
    """What a line says and when, for `exporters.delivery.destination.Destination.encode`.

    Without what may be known better later (its place in the call, the session's name) or elsewhere (the local time).
    """
    return json.dumps((line.level, line.logger, line.message, line.attributes, line.created, line.turn_id)).encode()
