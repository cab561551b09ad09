"""`Recorder(redact=…)`: a function of the application that removes private data from calls before they are recorded.

It gets each call's arguments as plain JSON values, in which named secrets are redacted already, and returns those to
record. If it raises, or does not return a dict, the call is recorded with all arguments ``[redacted]``, and counted: it
is neither lost nor leaked.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from eventstore.hooks.arguments import HAPPENED, Args, encode_args
from eventstore.hooks.declare import Record
from eventstore.hooks.secret_names import REDACTED

Redact = Callable[[str, Args], Args]
"""Gets the hook's name in the log and its arguments, which it may modify; returns the arguments to record.

An omitted argument is recorded as ``[redacted]``; an added one is not recorded.
"""


def with_redaction(record: Record, redact: Redact, failed: Callable[[BaseException], None]) -> Record:
    """Wrap ``record`` so that arguments pass through ``redact``; ``failed`` is called if that raises."""

    def redacted(hook: str, args: Args, adapt: Callable[[Args], Args] | None) -> Args:
        hidden = dict.fromkeys(args, REDACTED)
        try:
            given = orjson.loads(encode_args(args if adapt is None else adapt(args)))
            hidden = dict.fromkeys(given, REDACTED)
            given.pop(HAPPENED, None)
            shown = redact(hook, given)
            kept = {name: dict.get(shown, name, REDACTED) for name in hidden}
            return orjson.loads(encode_args(kept | _happened(args)))  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - user code; law 6
            failed(error)
            return hidden | _happened(args)

    def record_redacted(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        record(hook, args, None if args is None else lambda given: redacted(hook, given, adapt))

    return record_redacted


def _happened(args: Args) -> Args:
    """The time of a back-dated call, which ``redact`` cannot change."""
    return {HAPPENED: args[HAPPENED]} if HAPPENED in args else {}
