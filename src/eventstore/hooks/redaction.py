"""`Recorder(redact=…)`: a function of the host's that takes out of calls what must not be recorded.

It sees each call's arguments as plain JSON values, after secrets that say so by their name were taken out, and what it
returns is recorded in their place. If it raises, or returns anything but a dict, the call is recorded with all its
arguments ``[redacted]``, and counted: neither lost nor leaked.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from eventstore.hooks.arguments import HAPPENED, Args, encode_args
from eventstore.hooks.declare import Record
from eventstore.hooks.secret_names import REDACTED

Redact = Callable[[str, Args], Args]
"""Gets the hook's name, as in the log, and its arguments, which it may change; returns them as they may be recorded.

An argument that it leaves out is recorded as ``[redacted]``; one that was not there is not recorded.
"""


def with_redaction(record: Record, redact: Redact, failed: Callable[[BaseException], None]) -> Record:
    """``record``, with every call's arguments through ``redact``; ``failed`` is called if that raises."""

    def redacted(hook: str, args: Args, adapt: Callable[[Args], Args] | None) -> Args:
        hidden = dict.fromkeys(args, REDACTED)
        try:
            given = orjson.loads(encode_args(args if adapt is None else adapt(args)))
            hidden = dict.fromkeys(given, REDACTED)
            given.pop(HAPPENED, None)
            shown = redact(hook, given)
            kept = {name: dict.get(shown, name, REDACTED) for name in hidden}
            return orjson.loads(encode_args(kept | _happened(args)))  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - a guest's function; law 6
            failed(error)
            return hidden | _happened(args)

    def record_redacted(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        record(hook, args, None if args is None else lambda given: redacted(hook, given, adapt))

    return record_redacted


def _happened(args: Args) -> Args:
    """Of a back-dated call, when it happened: no function may change that."""
    return {HAPPENED: args[HAPPENED]} if HAPPENED in args else {}
