"""What value is meant? Paths, and the other names under which a turn's numbers are known."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from eventstore.errors import TurnlogError
from projections.provenance import Trail
from projections.reference import metrics as model
from projections.reference.handlers.turn import is_meaningful
from projections.reference.metrics import Turn
from projections.response import NAMES, response


class UnknownPath(TurnlogError):
    """The session has no turn, or the turn no field, of that name."""


class Asked(NamedTuple):
    path: str
    """In full."""
    turn: Turn
    question: Callable[[Any], Any]
    """What is to be known of the turn."""
    leaf: str | None
    """The field that is read for it, if it is one."""
    discarded: str | None


_COMPONENTS: dict[str, type[msgspec.Struct]] = {
    "stt_metrics": model.Stt, "eou_metrics": model.Eou, "llm_metrics": model.Llm, "tts_metrics": model.Tts,
    "realtime_metrics": model.Realtime, "kb_metrics": model.Kb, "vad_metrics": model.Vad,
}  # fmt: skip
_LAST = {
    field: f"{entries}[-1].{field}"
    for entries, of in reversed(_COMPONENTS.items())
    for field in vars(of)["__annotations__"]
}
"""Fields of components: of each the last entry counts."""
_OWN = {field: field for field in Turn.__struct_fields__}
_LAST["interruption"] = "interruption_metrics"
_MEASURES = {
    "e2e_ms": "e2e_latency", "stt_ms": "stt_latency", "stt_interim_ms": "stt_interim_latency",
    "stt_preflight_ms": "stt_preflight_latency", "eou_ms": "eou_latency", "kb_ms": "kb_retrieval_latency",
    "llm_ttft_ms": "llm_ttft", "llm_ms": "llm_duration", "tts_ms": "tts_latency", "tts_first_byte_ms": "ttfb",
    "realtime_ms": "realtime_ttfb", "user_speech_ms": "user_speech_duration", "interrupted": "is_interrupted",
    "agent_speech_ms": "agent_speech_duration", "cached_tokens": "prompt_cached_tokens",
    "stt_tokens": "stt_total_tokens",
    "realtime_input_tokens": "realtime_input_tokens", "realtime_tokens": "realtime_total_tokens",
    "false_interruption": "interruption_metrics.is_false_interrupt", "errors": "errors", "fallbacks": "fallback_events",
    "tools": "function_tool_metrics", "ttft": "llm_ttft",
}  # fmt: skip
_OF_BARGE_INS = frozenset({"yield_ms", "overlap_ms"})
"""Measures that are not made of the turn's records."""
_SUMS = ("response_ms", "eou_wait_ms", *(name.replace(" ", "_") for name in NAMES))
"""Reckoned from several fields: the response by the wall and its pieces."""
_PATH = re.compile(r"(?P<turn>turns\[\d+\]|discarded\[\d+\](\.turn)?|current_turn)(\.(?P<field>.+))?$")
_STEP = re.compile(r"\.?([A-Za-z_]\w*)|\[(-?\d+)\]")


def resolve(trail: Trail, path: str) -> Asked:
    """Raises `UnknownPath`, with near names."""
    found = _PATH.match(path)
    if found is None:
        raise UnknownPath(
            f"no value {path!r}; a path is like turns[6].e2e_latency, discarded[0] or current_turn.stt_latency"
        )
    turn, discarded = _turn(trail, found["turn"])
    field = found["field"]
    if field is None:
        return Asked(found["turn"], turn, _fate(), None, discarded)
    name = field if field in _SUMS else _snake(field)
    if name in _SUMS and not (name == "eou_wait_ms" and field != name):
        wanted = name.replace("_", " ") if name not in ("response_ms", "eou_wait_ms") else name
        return Asked(f"{found['turn']}.{name}", turn, _sum(trail, wanted), None, discarded)
    full = _full(turn, field)
    steps = [name if name else int(index) for name, index in _STEP.findall(full)]
    leaf = next((step for step in reversed(steps) if isinstance(step, str)), None)
    return Asked(f"{found['turn']}.{full}", turn, lambda noted: _walk(noted, steps), leaf, discarded)


def _turn(trail: Trail, name: str) -> tuple[Turn, str | None]:
    s = trail.state
    index = int(re.sub(r"\D", "", name) or 0)
    if name.startswith("turns") and index < len(s.turns):
        return s.turns[index], None
    if name.startswith("discarded") and index < len(s.discarded):
        return s.discarded[index].turn, s.discarded[index].reason
    if name == "current_turn" and s.turn is not None:
        return s.turn, None
    opened = ", and one is open" if s.turn is not None else ""
    raise UnknownPath(
        f"no {name} in {s.session_name!r}: it has {len(s.turns)} turns, {len(s.discarded)} discarded{opened}"
    )


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: "_" + capital[0].lower(), name)


def _full(turn: Turn, field: str) -> str:
    """The path that is meant by a name of a field. Raises `UnknownPath`."""
    snake = _snake(field)
    name = _MEASURES.get(field) or _MEASURES.get(snake) or snake
    name = _OWN.get(name) or _LAST.get(name) or name
    if name.startswith("tts_metrics[-1].ttfb") and turn.realtime_metrics:
        name = "realtime_metrics[-1].realtime_ttfb"
    steps = [name if name else int(index) for name, index in _STEP.findall(name)]
    if "".join(found[0] for found in re.finditer(_STEP, name)) != name or _missing(turn, steps):
        known = [*_OWN, *_LAST, *_MEASURES, *_SUMS]
        near = get_close_matches(snake.rpartition(".")[2], known, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "e2e_latency is one"
        hint = "it is of the turn's barge-ins: `turnlog barge-ins` has them" if field in _OF_BARGE_INS else hint
        raise UnknownPath(f"the turn has no {field!r}; {hint}")
    return _from_front(turn, steps)


def _missing(turn: Any, steps: list[str | int]) -> bool:
    try:
        _walk(turn, steps)
    except (AttributeError, IndexError, KeyError, TypeError):
        return True
    return False


def _walk(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        value = getattr(value, step) if isinstance(step, str) else value[step]
    return value


def _from_front(turn: Any, steps: list[str | int]) -> str:
    """With indices as they are counted in paths."""
    path, value = "", turn
    for step in steps:
        if isinstance(step, str):
            path, value = f"{path}.{step}" if path else step, getattr(value, step)
        else:
            path, value = f"{path}[{step % len(value)}]", value[step]
    return path


def _fate() -> Callable[[Any], str]:
    """What decides whether a turn is kept; the first of a session is, whatever is in it."""

    def question(turn: Any) -> str:
        if is_meaningful(turn):
            return "something was measured in it"
        return "nothing was measured in it"

    return question


def _sum(trail: Trail, name: str) -> Callable[[Any], float | None]:
    def question(turn: Any) -> float | None:
        found = response(turn, trail.wrap(trail.state.session, None, "session"))
        if found is None:
            return None
        wanted = {"eou_wait_ms": "EOU wait"}.get(name, name)
        return found.ms if name == "response_ms" else sum((p.ms for p in found.pieces if p.name == wanted), 0.0)

    return question
