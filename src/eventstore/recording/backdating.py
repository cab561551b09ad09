"""Back-dating: hooks for something that happened earlier than it is recorded (``docs/clocks.md``).

Frameworks report some things late, with their own timestamp. Such an event has both times: the recorder's clocks, as
every event, and in its payload ``$happened_ns``, the time it happened on the recorder's monotonic clock, and ``$raw``,
the framework's timestamp. `eventstore.codec.clocks` returns the effective one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventstore.hooks.arguments import HAPPENED, RAW, Args
from eventstore.hooks.collector import CollectorHooks
from eventstore.hooks.declare import Record
from eventstore.hooks.later import LaterHooks
from eventstore.hooks.own import OwnHooks
from eventstore.hooks.traces import TracesHooks


class BackdatedHooks(CollectorHooks, LaterHooks, OwnHooks):
    """All hooks, for one point in time. They never raise; `schedule_turn_complete` sets no timer."""

    def __init__(self, record: Record, happened_ns: int, raw: Any) -> None:
        self.traces = TracesHooks()
        self._record = self.traces._record = _backdating_record(record, happened_ns, raw)  # noqa: SLF001 - a part of the recorder


def _backdating_record(record: Record, happened_ns: int, raw: Any) -> Record:
    times: Args = {HAPPENED: happened_ns}
    if raw is not None:
        times[RAW] = raw

    def adapted(args: Args, adapt: Callable[[Args], Args]) -> Args:
        own = {name: value for name, value in args.items() if name not in times}
        return times | adapt(own)

    def record_backdated(hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None) -> None:
        # the times come first: readers check the beginning of a payload for them
        record(hook, times | (args or {}), None if adapt is None else lambda given: adapted(given, adapt))

    return record_backdated
