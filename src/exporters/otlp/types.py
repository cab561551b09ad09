"""Attribute values converted to OTLP's types."""

from __future__ import annotations

from typing import Any

from projections.model import is_number

MAX_ATTRIBUTES = 128
"""OpenTelemetry's limit per span; the last ones are kept."""
_INT64 = range(-(1 << 63), 1 << 63)


def otlp_attributes(attributes: dict[str, Any] | None) -> dict[str, Any]:
    """The attributes with values of OpenTelemetry's types; other values become text, None is omitted."""
    if not attributes:
        return {}
    kept = [
        (key, value if type(value) is str else _typed(value))
        for key, value in attributes.items()
        if value is not None and key
    ]
    return dict(kept[-MAX_ATTRIBUTES:])


def _typed(value: Any) -> Any:
    if type(value) is float and value - value == 0:
        return value
    if isinstance(value, (list, tuple)) and len({type(item) for item in value}) <= 1 and all(map(_has_type, value)):
        return [*value]
    return value if _has_type(value) else str(value)


def _has_type(value: Any) -> bool:
    """True for text, a bool, a 64-bit integer or a finite float."""
    kind = type(value)
    return kind is str or kind is bool or (kind is int and value in _INT64) or (kind is float and is_number(value))
