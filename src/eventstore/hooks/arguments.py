"""Encode hook arguments of any type as JSON, without ever raising (law 6).

The fast path is one call of orjson. Values that orjson cannot encode, or would silently encode as ``null`` (NaN), take
the slow path: they are converted as faithfully as possible, and the payload lists the changes under the key
``$altered``, a map from the path in the arguments to the original kind. Values whose name marks them as secret are
redacted, see `eventstore.hooks.secret_names`.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import orjson

from eventstore.hooks.secret_names import REDACTED, hide, scrub

Args = dict[str, Any]

ALTERED = "$altered"
HAPPENED, RAW = "$happened_ns", "$raw"
"""Extra keys of a back-dated event, see `eventstore.recording.backdating`."""
MAX_DEPTH = 64
MAX_MARKS = 32
UNCHANGING = frozenset({str, int, float, bool, type(None)})
"""Immutable types, whose values may be encoded later."""
_EXACT = UNCHANGING - {float}
"""Types that orjson writes as they are, or refuses, and that contain no names."""
_dumps, _OPTIONS = orjson.dumps, orjson.OPT_PASSTHROUGH_DATACLASS
_INT64 = range(-(2**63), 2**64)  # what orjson writes as an integer


def encode_args(args: Args) -> bytes:
    """The arguments as a JSON object."""
    try:
        data = _dumps(args, None, _OPTIONS)
    except (TypeError, ValueError, RecursionError):  # orjson.JSONEncodeError is a TypeError
        return _encode_slowly(args)
    for value in args.values():
        if type(value) not in _EXACT:
            break
    else:
        return data
    # orjson writes NaN and infinity as null: check the values only if there is a null
    # (`find`, as `in` on bytes takes twice as long)
    if data.find(b"null") >= 0 and _has_nonfinite(args, 0):
        return _encode_slowly(args)
    # only nested objects and lists contain names
    return data if data.find(b"{", 1) < 0 and data.find(b"[") < 0 else hide(data)


def _has_nonfinite(value: Any, depth: int) -> bool:
    kind = type(value)  # never isinstance: it runs code of the value's class
    if kind is float:
        return bool(value - value != 0.0)
    if depth < MAX_DEPTH:
        if issubclass(kind, dict):
            return any(_has_nonfinite(v, depth + 1) for v in dict.values(value))
        if issubclass(kind, (list, tuple)):
            return any(_has_nonfinite(v, depth + 1) for v in value)
    return False


def _encode_slowly(args: Args) -> bytes:
    marks: dict[str, str] = {}
    plain = {str(name): _to_json(value, str(name), marks, ()) for name, value in args.items()}
    if marks:
        plain[ALTERED] = marks
    return hide(orjson.dumps(plain))


def _mark(marks: dict[str, str], path: str, what: str) -> None:
    if len(marks) < MAX_MARKS:
        marks[_text(path)] = what


def _to_json(value: Any, path: str, marks: dict[str, str], parents: tuple[int, ...]) -> Any:
    """Convert `value` to JSON types; ``parents`` are the ids of the enclosing containers."""
    try:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return _to_json(value.value, path, marks, parents)
        if isinstance(value, (str, int, float)):
            return _scalar(value, path, marks)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _bytes(bytes(value), path, marks)
        if id(value) in parents:
            _mark(marks, path, "a reference to something it is inside of")
            return None
        if len(parents) >= MAX_DEPTH:
            _mark(marks, path, f"nested deeper than {MAX_DEPTH}")
            return None
        return _container(value, path, marks, (*parents, id(value)))
    except Exception as error:  # noqa: BLE001 - user code may raise anything; the value is marked
        _mark(marks, path, f"{type(value).__name__}, which raised {type(error).__name__}")
        return scrub(as_text(value))


def _scalar(value: str | float, path: str, marks: dict[str, str]) -> Any:
    if isinstance(value, str):
        text = _text(value)
        if text != value:
            _mark(marks, path, "text with lone surrogates")
        return text
    if isinstance(value, int):
        if value in _INT64:
            return int(value)
        _mark(marks, path, "an integer beyond 64 bits")
        return hex(value)
    if value - value == 0.0:
        return float(value)
    _mark(marks, path, f"float {float(value)}")
    return None


def _text(value: str) -> str:
    """`value` as valid Unicode: surrogate pairs joined, lone surrogates replaced."""
    # methods of `str`, as a subclass may override them
    if str.isascii(value):
        return str.__str__(value)
    return str.encode(value, "utf-16", "surrogatepass").decode("utf-16", "replace")


def _bytes(value: bytes, path: str, marks: dict[str, str]) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        _mark(marks, path, "bytes, as base64")
        return base64.b64encode(value).decode()
    _mark(marks, path, "bytes, as UTF-8 text")
    return text


def _container(value: Any, path: str, marks: dict[str, str], parents: tuple[int, ...]) -> Any:
    if isinstance(value, dict):
        plain = {}
        for key, item in list(dict.items(value)):
            name = _text(key) if isinstance(key, str) else as_text(key)
            if name != key:
                _mark(marks, f"{path}.{name}", f"a key of type {type(key).__name__}")
            plain[name] = _to_json(item, f"{path}.{name}", marks, parents)
        return plain
    if isinstance(value, (list, tuple)):
        return [_to_json(item, f"{path}[{n}]", marks, parents) for n, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        _mark(marks, path, type(value).__name__)
        # a set has no order, and a log must not depend on the hash seed
        return sorted((_to_json(item, f"{path}[]", marks, parents) for item in value), key=orjson.dumps)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return {name: _to_json(getattr(value, name, None), f"{path}.{name}", marks, parents) for name in names}
    try:
        return orjson.loads(orjson.dumps(value))  # dates, UUIDs and other types orjson supports
    except (TypeError, ValueError, RecursionError):
        _mark(marks, path, f"{type(value).__module__}.{type(value).__qualname__}, as text")
        return scrub(as_text(value))


# Adapters that hooks apply to their arguments before encoding. Each mirrors how the reference reads its arguments.


def as_text(value: Any) -> str:
    """``str(value)`` that never raises."""
    try:
        return _text(str(value))
    except Exception:  # noqa: BLE001 - user code
        return f"<unprintable {type(value).__name__}>"


def scrubbed_text(value: Any) -> str:
    """``str(value)`` with secrets redacted."""
    if issubclass(type(value), (dict, list, tuple)):
        plain = encode_args({"value": value})
        if plain.find(REDACTED.encode()) >= 0:
            value = orjson.loads(plain)["value"]
    return scrub(as_text(value))


def _mode(value: Any) -> str:
    if type(value) is str:
        return scrub(value)
    return scrubbed_text(value.value if hasattr(value, "value") else value)


def pipeline_args(args: Args) -> Args:
    """Replace enums by their values and sort the components (reference: ``configure_pipeline``)."""
    realtime, components = args["realtime_mode"], args["active_components"]
    return {
        "pipeline_mode": _mode(args["pipeline_mode"]),
        "realtime_mode": _mode(realtime) if realtime else None,
        "active_components": None if components is None else sorted({_mode(c) for c in components}),
    }


def message_as_text(args: Args) -> Args:
    """Convert an error's message to text, as agents pass exceptions (reference: ``add_error``)."""
    return {**args, "message": scrubbed_text(args["message"])}


def scrub_args(args: Args) -> Args:
    """Redact secrets in text written by software (a URL, a path, a log line)."""
    return {
        name: scrub(value if type(value) is str else _text(value)) if issubclass(type(value), str) else value
        for name, value in args.items()
    }


def config_reader(*names: str) -> Callable[[Args], Args]:
    """Adapter that reads a configuration object: ``names`` are the attributes that the reference reads.

    Its other public attributes are kept too, for future rules.
    """

    def adapt(args: Args) -> Args:
        config = args["config"]
        if config is None or isinstance(config, dict):
            return {"config": config}
        public = {k: v for k, v in getattr(config, "__dict__", {}).items() if not k.startswith("_")}
        return {"config": public | {name: getattr(config, name, None) for name in names}}

    return adapt


def span_attributes(args: Args) -> Args:
    """Replace span attributes that JSON cannot represent exactly by ``str(value)``, as the reference does."""
    return {
        name: {k: v if _is_json(v, 0) else scrubbed_text(v) for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in args.items()
    }


def _is_json(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind is float:
        return bool(value - value == 0.0)
    if kind is int:
        return value in _INT64
    if kind in (str, bool, type(None)):
        return True
    if depth >= MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_json(item, depth + 1) for item in value)
    return kind is dict and all(type(k) is str and _is_json(v, depth + 1) for k, v in value.items())
