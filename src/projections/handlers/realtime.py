"""Speech-to-speech models: their token counts. Their latency comes from the turn's timer, see `turn`."""

from __future__ import annotations

from eventstore.arguments import Args
from projections.handlers.table import with_args
from projections.model import Realtime
from projections.state import State

_COUNTS = {field: field.removeprefix("realtime_") for field in Realtime.__struct_fields__ if field.endswith("_tokens")}


@with_args
def set_realtime_usage(s: State, now: float, args: Args) -> None:
    usage = args["usage"]
    if s.turn is None or not usage:
        return
    if not s.turn.realtime_metrics:
        s.turn.realtime_metrics.append(Realtime())
    realtime = s.turn.realtime_metrics[-1]
    for field, key in _COUNTS.items():
        setattr(realtime, field, usage.get(key))
