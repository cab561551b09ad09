"""What hypothesis makes calls, events and hostile arguments of."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import orjson
from hypothesis import strategies as st

from eventstore import HOOKS, Event

TEXT = st.text(max_size=12)
NUMBER = st.one_of(st.integers(-5, 5000), st.floats(-10, 5000, allow_nan=False))
MAYBE_NUMBER = st.none() | NUMBER
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(st.sampled_from(["message", "start_time", "mode", "threshold", "x"]), JSON, max_size=3)

# What an argument of that name may be; any JSON where nothing is said.
ARGUMENTS: dict[str, st.SearchStrategy[Any]] = {
    "attached": st.booleans(),
    "attributes": st.dictionaries(st.sampled_from(["agent_name", "peerId", "start_time", "k"]), JSON, max_size=3),
    "component_type": st.sampled_from(["stt", "llm", "tts", "vad", "eou", "realtime", "STT", "nope"]),
    "config": st.none() | OBJECT,
    "count": st.integers(-3, 400),
    "documents": st.lists(TEXT, max_size=7),
    "end_time": MAYBE_NUMBER,
    "enabled": st.booleans(),
    "error": OBJECT,
    "event_data": OBJECT,
    "file_path": st.none() | TEXT,
    "index": st.integers(0, 4),
    "scores": st.lists(st.floats(-1, 1), max_size=7),
    "source": st.sampled_from(["STT", "LLM", "TTS", "VAD", "TURN-D", "REALTIME"]),
    "start_time": MAYBE_NUMBER,
    "timeout": st.just(1.0),
    "usage": st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens"]), NUMBER),
    "vad_config": st.dictionaries(st.sampled_from(["threshold", "min_silence_duration"]), NUMBER),
}
# The hooks that make turns come more often, as they do in a call.
HOT = [
    "start_turn", "complete_turn", "on_user_speech_start", "on_user_speech_end", "on_stt_start", "on_stt_complete",
    "on_eou_start", "on_eou_complete", "on_llm_start", "on_llm_first_token", "on_tts_start", "on_tts_first_byte",
    "on_agent_speech_start", "on_agent_speech_end", "on_interrupted", "set_user_transcript", "finalize_realtime_turn",
]  # fmt: skip
OPENING = [
    ("set_traces_flow_manager", {"attached": True}),
    ("set_playground_manager", {"attached": True}),
    ("traces.start_agent_joined_meeting", {"attributes": {}}),
    ("traces.start_agent_session", {"attributes": {}}),
    ("set_provider_info", {"component_type": "vad", "provider_class": "V", "model_name": "v"}),
]
NAMES = sorted(HOOKS)


@st.composite
def calls(draw: st.DrawFn, max_size: int = 40) -> list[tuple[str, dict[str, Any]]]:
    """Hook calls by name, the traces mostly attached and open."""
    made = list(OPENING) if draw(st.integers(0, 3)) else []
    for hook in draw(st.lists(st.sampled_from(HOT) | st.sampled_from(NAMES), max_size=max_size)):
        made.append((hook, {name: draw(ARGUMENTS.get(name, JSON)) for name in HOOKS[hook].arguments}))
    return made


@st.composite
def streams(draw: st.DrawFn, session: str = "s", origin: str = "o", max_size: int = 40) -> list[Event]:
    """The events of one origin, in order; its clocks mostly advance."""
    perf, wall = draw(st.integers(1, 10**13)), draw(st.integers(10**18, 2 * 10**18))
    events = []
    for seq, (hook, args) in enumerate(draw(calls(max_size))):
        step = draw(st.sampled_from([0, 1, 999, 10**6, 10**8, 2 * 10**9]))
        perf += step
        wall += step + draw(st.sampled_from([0, 0, 0, -(10**9), 10**9]))
        payload = orjson.dumps(args).decode()
        events.append(Event(session, origin, seq, hook, HOOKS[hook].version, perf, wall, payload))
    return events


@st.composite
def sessions(draw: st.DrawFn, session: str = "s") -> list[Event]:
    """The events of a session of one to three origins, in no order that means anything."""
    origins = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    return [event for origin in origins for event in draw(streams(session, origin, 15))]


# hostile ------------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    DEEP = float("nan")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


class Evil:
    """Raises at every touch."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __iter__(self) -> Any:
        raise RuntimeError("no items")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


class EvilDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("no items")


class EvilText(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def encode(self, *_args: Any) -> bytes:
        raise RuntimeError("no bytes")


def cyclic() -> list[Any]:
    made: list[Any] = [1]
    made.append({"me": made})
    return made


def deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(5000):
        made = [made]
    return made


HOSTILE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(2**63, 2**70),
        st.floats(),
        st.text(st.characters(exclude_categories=()), max_size=8),
        st.binary(max_size=8),
        st.sampled_from([Colour.RED, Colour.DEEP, Point(1), Point(float("inf")), ValueError("\ud800"), object, len]),
        st.builds(Evil),
        st.builds(EvilDict, st.just({"a": 1})),
        st.builds(EvilText, st.just("x")),
        st.builds(cyclic),
        st.builds(deep),
        st.just("m" * 2_000_000),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=4) | st.integers(), inner, max_size=3),
        st.frozensets(st.integers() | st.text(max_size=3), max_size=3),
        st.builds(Point, inner, inner),
    ),
    max_leaves=5,
)
