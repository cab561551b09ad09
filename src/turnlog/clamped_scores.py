"""Undoing a trace that the reference leaves in the recorded calls themselves.

The reference sets negative scores of the knowledge base to 0 in the very list it was handed. The driver that records
what the reference does writes the calls down afterwards, so its files hold the clamped list where the hook was called
with the negative one, while ``expect`` shows what the playground and the spans got before. Nothing could replay that.

So, where a call of ``on_knowledge_base_complete`` has an integer 0 and ``expect`` shows a negative score in that very
place, the score is put back. Files whose calls were kept apart from the driver have none of it.
"""

from __future__ import annotations

from typing import Any

from turnlog.recordings import Call, Recording

HOOK = "on_knowledge_base_complete"


def restore(recording: Recording) -> tuple[list[Call], int]:
    """The recording's calls with the negative scores put back, and how many those were."""
    expect = (recording.model_extra or {}).get("expect") or {}
    calls, restored = list(recording.calls), 0
    for n, call in enumerate(calls):
        given = call.args.get("scores") if call.hook == HOOK else None
        if not isinstance(given, list) or 0 not in given:
            continue
        scores = list(given)
        for place, shown in enumerate(_shown(expect, n, call)[: len(scores)]):
            if type(scores[place]) is int and scores[place] == 0 and shown < 0:
                scores[place] = shown
                restored += 1
        calls[n] = call.model_copy(update={"args": call.args | {"scores": scores}})
    return calls, restored


def _shown(expect: dict[str, Any], index: int, call: Call) -> list[float]:
    """The scores as the call gave them: whole from the playground, the first five with four decimals from a span."""
    for message in expect.get("playground", []):
        if message.get("_at") == index and "kb_scores" in message["metrics"]:
            found: list[float] = message["metrics"]["kb_scores"]
            return found
    ended = str(call.perf_ns / 1e9)
    for span in expect.get("spans", []):
        attributes = span["attributes"]
        if attributes.get("end_timestamp") == ended and "scores" in attributes:
            return [float(score) for score in attributes["scores"].split(", ")]
    return []
