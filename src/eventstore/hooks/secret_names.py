"""Redaction of values whose name marks them as secret: keys, tokens, passwords, credentials.

They are recorded as ``[redacted]``, in encrypted logs too. The name is that of a dict entry, attribute, header or URL
parameter, or the word before ``=``. Names of metrics (``max_tokens``, ``token_count``, ``time_to_first_token``) are not
secret.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

REDACTED = "[redacted]"

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SECRET_WORDS = frozenset([
    "secret", "secrets", "jwt", "jwts", "credential", "credentials", "cred", "creds", "cookie", "cookies",
    "authorization", "bearer", "apikey", "apikeys", "pwd", "passwd",
])  # fmt: skip
_SECRET_LAST_WORDS = frozenset(["auth", "authentication"])
"""Secret only as the last word: ``basic_auth``, but not ``auth_mode``."""
_COMPOUND = re.compile(
    r"password|passwd|passphrase|passcode|secrets?$|authorization"
    r"|(api|access|private|secret|signing|encryption|subscription|account|auth|master|service|ssh|shared|license)"
    r"keys?(?!board|word|frame)"
    r"|(access|o?auth|refresh|session|id|api|bearer|[cx]srf|bot|device|push|security|personal)token(?!s)"
    r"|(access|auth|refresh|api|bearer)tokens"
)
"""Matched against the name without its separators."""
_METRIC = frozenset([
    "first", "last", "next", "per", "max", "min", "num", "count", "counts", "time", "times", "at", "total", "input",
    "output", "prompt", "completion", "cached", "cache", "audio", "text", "image", "reasoning", "thoughts", "eos",
    "bos", "pad", "stop", "unk", "usage", "limit", "budget", "cost", "price", "latency", "duration", "ms",
    "seconds", "rate", "type", "index", "position", "length", "size",
])  # fmt: skip
"""Next to one of these words, a token is a model's unit of text."""
_SECRET_PARAMETERS = frozenset(["key", "sig", "signature", "pass"])
_ASSIGNED = re.compile(
    r"""(?P<name>[A-Za-z_][\w.-]{1,63})(?P<sign>["']\s*[:=,]\s*b?|\s*=\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?:[Bb]earer|[Bb]asic)\s+[^\s,;&)}\]"']+|[^\s,;&)}\]"']+)"""
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_HEADER = re.compile(r"(?P<name>(?:proxy-)?authorization|(?:set-)?cookie)(?P<sign>\s*:\s*)[^\r\n\"']+", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][\w+.-]{0,30}://[^\s\"'<>]+")
_USER = re.compile(r"://[^/?#]*@")
_PARAMETER = re.compile(r"(?P<before>[?&;#])(?P<name>[^=&;#]{1,100})=[^&;#]*")


_DIGITS = b"0123456789"
_NO_DIGITS = dict.fromkeys(_DIGITS)
_SHAPES = 1024
"""Maximum number of cached shapes."""
_shapes: set[bytes] = set()
"""Payloads of names and numbers without secrets, minus their digits: the usage of every turn has the same shape."""
_SHORT = 100
_harmless: set[str] = set()
"""Short texts without secrets, at most `_SHAPES`: every session names the same providers and models."""


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether the name marks a secret: ``api_key``, ``X-Auth-Token``, ``clientSecret``; not ``max_tokens``.

    Digits are ignored.
    """
    words = [word.lower() for word in _WORD.findall(name.translate(_NO_DIGITS))]
    if not words:
        return False
    if not _SECRET_WORDS.isdisjoint(words) or words[-1] in _SECRET_LAST_WORDS or _COMPOUND.search("".join(words)):
        return True
    return "token" in words and _METRIC.isdisjoint(words)


def hide(data: bytes) -> bytes:
    """Redact the secrets in a JSON object. Its top-level names are a hook's arguments, and are not checked."""
    shape = data.translate(None, _DIGITS)
    if shape in _shapes:
        return data
    if not _may_contain_secret(shape):
        return data
    args = orjson.loads(data)
    try:
        hidden = {name: value if isinstance(value, str) else _hide(value) for name, value in args.items()}
    except RecursionError:  # the caller's stack is nearly full: redact everything
        hidden = dict.fromkeys(args, REDACTED)
    if hidden != args:
        return orjson.dumps(hidden)
    if len(shape) < 1000 and not _has_text(args):
        _remember(_shapes, shape)
    return data


def _may_contain_secret(shape: bytes) -> bool:
    """A fast check of text without digits: every secret's name, header or URL contains one of these."""
    text = shape.lower().decode("latin-1")
    return (
        "key" in text or "token" in text or "cre" in text or "pass" in text or "pwd" in text or "auth" in text
        or "jwt" in text or "cookie" in text or "beare" in text or "basic" in text or "://" in text
    )  # fmt: skip


def _remember(known: set[Any], value: bytes | str) -> None:
    if len(known) >= _SHAPES:
        known.clear()
    known.add(value)


def _has_text(value: Any) -> bool:
    """Whether the value contains text other than names."""
    if isinstance(value, dict):
        return any(map(_has_text, value.values()))
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def scrub(text: str) -> str:
    """Redact the secrets in text: in URLs, in headers, after ``name=``, and in the ``repr`` of a dict."""
    if text in _harmless:
        return text
    clean = text
    if _may_contain_secret(text.lower().encode("utf-8", "surrogatepass").translate(None, _DIGITS)):
        clean = _URL.sub(lambda url: _scrub_url(url[0]), text)
        clean = _HEADER.sub(lambda found: found["name"] + found["sign"] + REDACTED, clean)
        clean = _BEARER.sub(rf"\1 {REDACTED}", _ASSIGNED.sub(_scrub_assigned, clean))
    if clean == text and len(text) <= _SHORT:
        _remember(_harmless, text)
    return clean


def _hide(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        hidden = {name: _redact(item) if is_secret(name) else _hide(item) for name, item in value.items()}
        return _hide_named(hidden)
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and is_secret(value[0]):  # a header as a pair
            return [value[0], _redact(value[1])]
        return [_hide(item) for item in value]
    return value


def _hide_named(entry: dict[str, Any]) -> dict[str, Any]:
    """Redact the value in ``{"name": "Authorization", "value": "…"}``, another notation of headers."""
    name = next((entry[key] for key in ("name", "key", "header") if isinstance(entry.get(key), str)), "")
    return {**entry, "value": _redact(entry["value"])} if "value" in entry and is_secret(name) else entry


def _redact(value: Any) -> Any:
    """Redact a value, unless it is None, a boolean or empty."""
    return value if value is None or value is True or value is False or value == "" else REDACTED


def _scrub_url(url: str) -> str:
    def parameter(found: re.Match[str]) -> str:
        name = unquote(found["name"])
        secret = is_secret(name) or name.lower() in _SECRET_PARAMETERS or name.lower().endswith("-signature")
        return f"{found['before']}{found['name']}={REDACTED}" if secret else found[0]

    return _PARAMETER.sub(parameter, _USER.sub(f"://{REDACTED}@", url, count=1))


def _scrub_assigned(found: re.Match[str]) -> str:
    value = found["value"].strip("\"'")
    harmless = value in ("", "None", "null", "True", "False", "true", "false") or REDACTED.startswith(value)
    if harmless or not is_secret(found["name"]):
        return found[0]
    quote = found["value"][0] if found["value"][0] in "\"'" else ""
    return f"{found['name']}{found['sign']}{quote}{REDACTED}{quote}"
