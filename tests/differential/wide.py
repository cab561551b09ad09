"""Hook calls that the conformance generator never makes: arguments of the wrong type, spans open early, odd clocks.

`calls(seed)` is one session. Every hook gets, for each argument, something fitting or anything that JSON has; the
traces are mostly attached and open, so that what a turn was left with reaches the spans.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

HOOKS = json.loads((Path(__file__).resolve().parents[2] / "fixtures" / "hooks.json").read_text())
ANYTHING: list[Any] = [
    None, "", "x", "1.5", 0, 1, -1, 2.5, -0.25, 1e300, True, False, [], [1, "a"], [-1, [-2]], {}, {"a": -1},
    {"message": "m", "start_time": 1.0}, {"threshold": 0.3, "min_silence_duration": 0.4},
    {"completion_tokens": 10, "prompt_tokens": -3, "input_tokens": 4},
]  # fmt: skip
# What the driver itself takes apart has to fit.
OBJECTS = {"attributes", "config", "active_components", "component_type"}
FITTING: dict[str, list[Any]] = {
    "attached": [True, True, True, False],
    "attributes": [{}, {"start_time": 1.0}, {"start_time": "noon", "agent_name": "A"},
                   {str(n): n for n in range(140)}],
    "component_type": ["stt", "llm", "tts", "vad", "eou", "realtime", "STT"],
    "config": [None, {}, {"mode": "ADAPTIVE", "min_max_speech_wait_timeout": [0.5, 0.8]}],
    "active_components": [None, ["a", "b"], []],
    "count": [0, 5, -3],
    "duration": [0.5, 1, None],
    "actual_duration": [0.25, 0, None],
    "owns": [True, False],
    "local_vad": [True, False],
    "at": [None, 0.5, 5000.5],
    "type": ["interim", "final"],
    "utterance_ts": [None, 0, 1_780_000_000_000],
    "retrievals": [None, [], [{"score": -0.5}]],
    "eou_probability": [0.5, 0, None],
    "documents": [["a", "b"], [], list("abcdefgh"), [1]],
    "scores": [[0.5, -0.5], [1, -1, 0], []],
    "source": ["STT", "LLM", "TTS", "VAD", "TURN-D", "REALTIME"],
    "start_time": [None, 0, 1.0, 5000.5, "noon"],
    "end_time": [None, 0, 2.0, 5001.5],
    "timeout": [1.0],
    "index": [0, 1, 2, 9],
    "time_data": [{}, {"start_time": 1.0, "end_time": 2.0}, {"start_time": "x"}, {"end_time": "x"}],
    "components_change_data": [{}, {"new_stt": "A", "new_llm": {"b": 1}}],
    "usage": [{}, {"completion_tokens": 10}, {"completion_tokens": -1, "total_tokens": None}],
    "vad_config": [{"min_silence_duration": 0.4}, {"threshold": 0, "min_silence_duration": 1}, {}],
    "event_data": [{}, {"start_time": 1.0, "is_recovery": True}, {"start_time": "x", "new_provider_label": "N"},
                   {"component_type": "LLM", "start_time": 2, "original_provider_label": "O", "is_recovery": 1}],
}  # fmt: skip
HOT = """start_turn complete_turn on_user_speech_start on_user_speech_end set_vad_config on_stt_start on_stt_complete
on_eou_start on_eou_complete on_wait_for_additional_speech on_llm_start on_llm_first_token on_llm_complete on_tts_start
on_tts_first_byte on_agent_speech_start on_agent_speech_end on_interrupted set_user_transcript set_agent_response
add_error finalize_realtime_turn set_realtime_usage on_false_interrupt_start on_false_interrupt_resume""".split()  # noqa: SIM905
LATER: dict[str, list[list[str | None]]] = {
    "on_wait_for_additional_speech_complete": [["actual_duration", None]],
    "set_local_vad_user_speech": [["owns", None]],
    "hold_turn": [],
    "release_turn": [],
    "emit_user_transcript_transport": [["text", None], ["type", None], ["utterance_ts", "None"]],
    "emit_agent_transcript_transport": [["text", None], ["type", None]],
    "on_user_speech_start": [["local_vad", "False"]],
    "on_user_speech_end": [["local_vad", "False"], ["at", "None"]],
    "set_agent_response": [["response", None], ["emit_transport", "True"]],
    "on_knowledge_base_complete": [["documents", None], ["scores", None], ["retrievals", "None"]],
}
"""What releases after 1.0.2 have in its place, or beside it."""
for _hook, _parameters in LATER.items():
    HOOKS["collector"][_hook] = {"parameters": _parameters}
SKIPPED = {"set_session_metrics", "schedule_turn_complete"}
ALL = [(target, hook) for target, hooks in HOOKS.items() for hook in hooks if hook not in SKIPPED]


def calls(seed: str) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    perf, wall = chance.choice([0, 10**9, 10**13]), 1_780_000_000_000_000_000
    made: list[dict[str, Any]] = []

    def call(target: str, hook: str, args: dict[str, Any]) -> None:
        nonlocal perf, wall
        step = chance.choice([0, 1, 1000, 10**6, 10**8, 10**9])
        perf += step if chance.random() < 0.97 else -step // 2
        wall += step
        made.append({"target": target, "hook": hook, "args": args, "perf_ns": max(perf, 0), "wall_ns": wall})

    if chance.random() < 0.9:
        call("collector", "set_traces_flow_manager", {"attached": True})
        call("traces", "start_agent_joined_meeting", {"attributes": {}})
        call("traces", "start_agent_session", {"attributes": {}})
        call("collector", "set_eou_config", {"config": {}})
        for component in ("vad", "stt", "eou", "llm", "tts", "realtime"):
            if chance.random() < 0.7:
                provider = {"provider_class": chance.choice(["P", "DeepgramSTTV2"]), "model_name": "m"}
                call("collector", "set_provider_info", {"component_type": component, **provider})
    if chance.random() < 0.5:
        call("collector", "set_playground_manager", {"attached": True})
    wildness = chance.choice([0.0, 0.02, 0.2])
    for _ in range(chance.randrange(5, 150)):
        target, hook = ("collector", chance.choice(HOT)) if chance.random() < 0.7 else chance.choice(ALL)
        call(target, hook, _arguments(chance, target, hook, wildness))
    return made


def _arguments(chance: random.Random, target: str, hook: str, wildness: float) -> dict[str, Any]:
    if hook in ("set_traces_flow_manager", "set_playground_manager"):
        return {"attached": chance.choice(FITTING["attached"])}
    if hook in ("set_eou_config", "set_interrupt_config"):
        return {"config": chance.choice(FITTING["config"])}
    if hook == "end_a2a_trace":
        return {"index": chance.choice(FITTING["index"])}
    args = {}
    for name, default in HOOKS[target][hook]["parameters"]:
        if default is not None and chance.random() < 0.3:
            continue
        wild = chance.random() < wildness and name not in OBJECTS
        args[name] = chance.choice(ANYTHING) if wild else chance.choice(FITTING.get(name, ["text", "x y", "é 🙂"]))
    return args
