"""Drop-ins for the reference's telemetry functions, for custom spans in addition to those of the replay.

They use a real OpenTelemetry tracer, whose spans are sent in batches over OTLP. They never raise: failures are logged,
each kind once. Needs the extra ``otlp``.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, Status, StatusCode

from eventstore.hooks.arguments import as_text
from exporters.logs.body import SDK_NAME, SDK_VERSION, SERVICE

log = logging.getLogger("turnlog")


def auto_initialize_telemetry_and_logs(
    room_id: str,
    peer_id: str,
    room_attributes: Mapping[str, Any] | None = None,
    session_id: str | None = None,
    sdk_metadata: Mapping[str, Any] | None = None,
    custom_traces_config: Mapping[str, Any] | None = None,
) -> None:
    """Start tracing if ``room_attributes`` enable it.

    In ``room_attributes``, ``observability`` is a token sent as ``Authorization``, and ``traces`` is the configuration
    unless ``custom_traces_config`` is given: ``enabled``, ``pbEndPoint`` (the URL) and ``export_headers`` (sent instead
    of the token). ``peer_id`` names the tracer. ``room_id`` and ``session_id`` are ignored, for compatibility.

    Despite the name, logs are not set up, as in the reference. Its room passes the attributes' ``logs`` (``enabled``,
    ``endPoint``) to the job's logger; use `JobLogger.set_endpoint` for that.

    The provider becomes the global one if there is none yet. After another call new spans go to the new endpoint,
    earlier ones still to the old one.
    """
    global _current  # noqa: PLW0603 - the reference's functions take no object
    if not room_attributes:
        return
    try:
        config = custom_traces_config or room_attributes.get("traces") or {}
        if config.get("enabled"):
            headers = config.get("export_headers") or {}
            token = room_attributes.get("observability")
            if not headers and token:
                headers = {"Authorization": token}
            _current = _Telemetry(peer_id, _resource(sdk_metadata or {}), _exporter(config.get("pbEndPoint"), headers))
    except ModuleNotFoundError as error:
        _warn_once("traces are not exported", f"they need the extra: pip install 'turnlog[otlp]' ({error})")
    except Exception as error:  # noqa: BLE001 - the agent must not fail; the text may contain a token
        _warn_once("traces are not exported", type(error).__name__)


def create_span(
    span_name: str,
    attributes: Mapping[str, Any] | None = None,
    parent_span: Span | None = None,
    start_time: float | None = None,
) -> Span | None:
    """Start a span, by default under the active one; None if tracing is off.

    ``start_time`` is in seconds on the clock of ``time.perf_counter()`` (default: now): the reference's docstring says
    "since epoch", but its code uses that clock. Attributes become text, and ``attiribute_id`` (sic) is added.
    """
    telemetry = _current
    try:
        return telemetry.start(span_name, attributes or {}, parent_span, start_time) if telemetry else None
    except Exception as error:  # noqa: BLE001 - the agent must not fail
        _warn_once("a span was not created", f"{span_name}: {type(error).__name__}: {as_text(error)}")
        return None


def complete_span(span: Span | None, status_code: StatusCode, message: str = "", end_time: float | None = None) -> None:
    """End a span, once. ``end_time`` is on the clock of `create_span`; ``message`` becomes an attribute, too."""
    telemetry = _current
    try:
        if telemetry and span:
            telemetry.end(span, status_code, message, end_time)
    except Exception as error:  # noqa: BLE001 - the agent must not fail
        _warn_once("a span was not ended properly", f"{type(error).__name__}: {as_text(error)}")


def shutdown_telemetry(timeout: float = 10.0) -> bool:
    """Flush the ended spans and stop tracing; True if all were sent within ``timeout`` seconds."""
    global _current
    telemetry, _current = _current, None
    if telemetry is None:
        return True
    try:
        sent = telemetry.provider.force_flush(int(timeout * 1000))
        telemetry.provider.shutdown()
    except Exception as error:  # noqa: BLE001 - the agent must not fail
        _warn_once("traces were not sent", type(error).__name__)
        return False
    return sent


class _Telemetry:
    """A tracer with the start times of its open spans."""

    def __init__(self, name: str, resource: Resource, exporter: SpanExporter) -> None:
        self.provider = TracerProvider(resource=resource)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self.provider)
        self._tracer = self.provider.get_tracer(name)
        self._begun: WeakKeyDictionary[Span, tuple[float, int]] = WeakKeyDictionary()

    def start(self, name: str, attributes: Mapping[str, Any], parent: Span | None, start_time: float | None) -> Span:
        now, wall_ns = time.perf_counter(), time.time_ns()
        began = now if start_time is None else start_time
        start_ns = wall_ns - int((now - began) * 1_000_000_000)
        context = trace.set_span_in_context(parent) if parent is not None else None
        text = {key: as_text(value) for key, value in attributes.items()} | {"attiribute_id": str(uuid.uuid4())}
        span = self._tracer.start_span(name, context, attributes=text, start_time=start_ns)
        self._begun[span] = began, start_ns
        return span

    def end(self, span: Span, status: StatusCode, message: str, end_time: float | None) -> None:
        if not span.is_recording():
            return  # already ended, or not sampled
        end_ns = None
        try:
            text = as_text(message) if message else ""
            if text:
                span.set_attribute("message", text)
            span.set_status(Status(status, text if status is StatusCode.ERROR or not text else None))
            if span in self._begun:
                began, start_ns = self._begun.pop(span)
                end_ns = start_ns + int(((time.perf_counter() if end_time is None else end_time) - began) * 1e9)
        finally:  # end it even with invalid arguments
            span.end(end_ns)


_current: _Telemetry | None = None
_warned: set[str] = set()


def _warn_once(problem: str, reason: str) -> None:
    if problem not in _warned:
        _warned.add(problem)
        log.warning("%s: %s", problem, reason)


def _resource(sdk_metadata: Mapping[str, Any]) -> Resource:
    known = "sdk" in sdk_metadata and "sdk_version" in sdk_metadata
    name, version = (sdk_metadata["sdk"].upper(), sdk_metadata["sdk_version"]) if known else (SDK_NAME, SDK_VERSION)
    return Resource({"sdk.name": name, "sdk.version": version, "service.name": SERVICE})


def _exporter(endpoint: str | None, headers: Mapping[str, str]) -> SpanExporter:
    """Raises `ModuleNotFoundError` without the extra."""
    from exporters.reference.span_exporter import BoundedSpanExporter

    return BoundedSpanExporter(endpoint, headers)
