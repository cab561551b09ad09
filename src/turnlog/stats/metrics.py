"""The metrics: their names, such as ``response.p95``, and their units.

A metric is a statistic of a measure. Latencies, durations, tokens and characters have a distribution over the completed
turns (``p50`` … ``max``); yes-or-no properties of a turn, such as an interruption, have a rate and a count.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Literal, NamedTuple

from eventstore.errors import TurnlogError
from projections.measures import TurnMeasures

Unit = Literal["ms", "%", ""]

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
STATISTICS = ("count", "min", "mean", *PERCENTILES, "max")
_TIMED = [name for name in TurnMeasures.__struct_fields__ if name.endswith("_ms")]
_COUNTED = (
        "input_tokens", "output_tokens", "total_tokens", "prompt_tokens", "completion_tokens", "cached_tokens",
        "tokens_per_second", "stt_tokens", "realtime_input_tokens", "realtime_output_tokens", "realtime_tokens",
        "tts_characters", "stt_audio_seconds", "tts_audio_seconds", "tools",
)  # fmt: skip
MEASURES: dict[str, Unit] = {**{name.removesuffix("_ms"): "ms" for name in _TIMED}, **dict.fromkeys(_COUNTED, "")}
"""Measures with a distribution; each is a field of `TurnMeasures`, which has the unit in its name."""
RATES = {
    "unanswered": "unanswered",
    "interruption": "interrupted",
    "false_interruption": "false_interruption",
    "error": "errors",
    "fallback": "fallbacks",
}
"""Rates, with the field that is not 0 in the turns they count; they are a share of the completed turns."""
SHARE_OF = {"unanswered": "asked"}
"""Rates that are a share of only those turns in which this field is not 0."""
LEAD = ("response", "time_to_answer", "framework_e2e")
"""Perceived latencies, and the one reported by the framework."""
PARTS = ("response", "stt", "eou", "eou_wait", "kb", "llm_ttft", "tool", "tts_first_byte", "realtime")
"""The response latency and those of its components."""
FRAMEWORK_PARTS = ("e2e", "stt", "eou", "llm_ttft", "tts", "realtime")
"""Under a framework's rules: the end-to-end latency and its components."""


class UnknownMetric(TurnlogError):
    """There is no metric of that name."""


class Metric(NamedTuple):
    measure: str
    statistic: str
    """One of `STATISTICS`, or ``sum``, ``rate``; ``all`` stands for a measure's whole distribution."""
    unit: Unit

    @property
    def name(self) -> str:
        return self.measure if self.statistic == "all" else f"{self.measure}.{self.statistic}"


def field_of(measure: str) -> str:
    """The measure's field in `TurnMeasures`."""
    return f"{measure}_ms" if MEASURES.get(measure) == "ms" else RATES.get(measure, measure)


def _all_metrics() -> dict[str, Metric]:
    found = [Metric(m, s, "" if s == "count" else unit) for m, unit in MEASURES.items() for s in STATISTICS]
    found += [Metric(m, "sum", unit) for m, unit in MEASURES.items() if unit == ""]
    for rate in (*RATES, "discarded"):
        found += [Metric(rate, "rate", "%"), Metric(rate, "count", "")]
    found += [Metric("turns", "completed", ""), Metric("turns", "discarded", ""), Metric("sessions", "count", "")]
    return {metric.name: metric for metric in found}


METRICS = _all_metrics()


def find_metric(name: str) -> Metric:
    """The metric of that name. Raises `UnknownMetric`, naming the nearest."""
    return _look_up(METRICS, name)


def find_measure(name: str) -> str:
    """The measure of that name. Raises `UnknownMetric`, naming the nearest."""
    return _look_up({measure: Metric(measure, "all", unit) for measure, unit in MEASURES.items()}, name).measure


def find_comparable(name: str) -> Metric:
    """A metric that a baseline supports: ``response`` as a whole, ``response.p95``, ``interruption.rate``."""
    whole = {measure: Metric(measure, "all", unit) for measure, unit in MEASURES.items()}
    parts = {n: m for n, m in METRICS.items() if m.statistic in PERCENTILES or m.statistic == "rate"}
    return _look_up(whole | parts, name)


def _look_up(known: dict[str, Metric], name: str) -> Metric:
    if name in known:
        return known[name]
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    raise UnknownMetric(f"unknown metric {name!r}; {hint}")
