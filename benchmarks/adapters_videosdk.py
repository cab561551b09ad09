"""Recording cost per event of the VideoSDK adapter, compared with the framework's own collector.

``.venv-videosdk/bin/python benchmarks/adapters_videosdk.py [TURNS]`` prints rows like those of ``run.py``. Each figure
is the best of five rounds, in microseconds per call of the collector.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from videosdk.agents import metrics
from videosdk.agents.metrics.analytics import AnalyticsClient

from rows import Row, comparison_row
from turnlog import Recorder, open_store
from turnlog.adapters import videosdk

TURN: list[tuple[str, tuple[Any, ...]]] = [
    ("on_user_speech_start", ()),
    ("on_stt_start", ()),
    ("on_stt_interim_end", ()),
    ("on_user_speech_end", ()),
    ("on_stt_complete", ("Hi, where is my order?", 0.55, 0.9)),
    ("on_eou_start", ()),
    ("on_eou_complete", ()),
    ("on_wait_for_additional_speech", (0.1, 0.95)),
    ("set_user_transcript", ("Hi, where is my order?",)),
    ("on_llm_start", ()),
    ("set_llm_input", ("Hi, where is my order?",)),
    ("on_tts_start", ()),
    ("on_llm_first_token", ()),
    *[("add_tts_characters", (6,))] * 10,
    ("set_llm_usage", ({"prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49, "prompt_cached_tokens": 0},)),
    ("on_llm_complete", ()),
    ("set_agent_response", ("It left our warehouse yesterday and arrives on Tuesday.",)),
    ("on_tts_first_byte", ()),
    ("on_agent_speech_start", ()),
    ("on_agent_speech_end", ()),
    ("complete_turn", ()),
]
ROUNDS = 5


def microseconds(target: Any, turns: int) -> float:
    """The mean per call in the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        calls = [(getattr(target, name), args) for _ in range(turns) for name, args in TURN]
        began = time.perf_counter()
        for method, args in calls:
            method(*args)
        best = min(best, (time.perf_counter() - began) / len(calls))
    return best * 1e6


def collector() -> Any:
    new = metrics.MetricsCollector()
    new.configure_pipeline("full_cascading")
    return new


async def rows(turns: int, folder: Path) -> list[Row]:
    AnalyticsClient.send_interaction_analytics_safe = lambda _client, _data: None
    alone = microseconds(collector(), turns)
    with Recorder(open_store(f"sqlite:///{folder / 'recorder.db'}")) as recorder:
        recording = microseconds(recorder, turns)
    found: dict[str, float] = {}
    for mode in ("shadow", "replace"):
        with videosdk.install(open_store(f"sqlite:///{folder / mode}.db"), mode=mode):  # type: ignore[arg-type]
            found[mode] = microseconds(collector(), turns)
    peer = "the framework's collector alone"
    return [
        comparison_row(
            "a collector call, adapter in shadow mode (passing on included)", found["shadow"], peer, alone, "µs"
        ),
        comparison_row("a collector call, adapter in replace mode", found["replace"], peer, alone, "µs"),
        comparison_row("the same hooks on a recorder", recording, peer, alone, "µs"),
    ]


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        for row in asyncio.run(rows(turns, Path(folder))):
            print(f"{row['work']}: {row['ours']}; {row['peer']}: {row['theirs']}; ratio {row['ratio']}")


if __name__ == "__main__":
    main()
