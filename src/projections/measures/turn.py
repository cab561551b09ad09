"""The measures of a turn: one flat record, the same for all rules, for statistics over many calls.

Names end in their unit where they have one: ``_ms`` is milliseconds. A number is None where nothing was measured, or
where the agent passed something other than a finite number. `projections.measures` makes the records.
"""

from __future__ import annotations

from typing import Any

import msgspec

COMPONENTS = ("stt", "llm", "tts", "realtime")


class TurnMeasures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A turn's numbers, and the fields to group by.

    Under ``turnlog`` a component's latency is that of the run that led to the first audio, and usage is summed over
    all runs; under a framework's rules both are those of the last entry, as in `Latency`.
    """

    session: str
    """The session's name in the log."""
    turn: int | None
    """Number among the completed turns, from 1; None if it was discarded."""
    turn_id: str
    """The framework's; empty under ``turnlog``."""
    opened_at: float
    """Seconds since the epoch."""

    response_ms: float | None
    """From the end of the user's last word to the agent's first audio. Only under ``turnlog``."""
    time_to_answer_ms: float | None = None
    """Until the speech after the tool results, where the agent spoke before them. Only under ``turnlog``."""
    e2e_ms: float | None
    """As the rules define it; under ``turnlog`` the response."""
    framework_e2e_ms: float | None = None
    """Reported by the framework itself. Only under ``turnlog``."""
    eou_wait_ms: float | None
    """Endpointing delay; under ``turnlog``, its part of the response."""
    stt_ms: float | None
    stt_interim_ms: float | None
    """Until the first interim transcript."""
    stt_preflight_ms: float | None
    """Until the transcript on which the LLM could start early."""
    eou_ms: float | None
    kb_ms: float | None
    """Retrieval from the knowledge base."""
    tool_ms: float | None = None
    """Time during which at least one tool ran. Only under ``turnlog``."""
    llm_ttft_ms: float | None
    """Until the first token."""
    llm_ms: float | None
    """Until the last token."""
    tts_ms: float | None
    """From the request to the agent's first audio; under a framework's rules to the first byte, once it has spoken."""
    tts_first_byte_ms: float | None
    """From the request to the first byte."""
    realtime_ms: float | None
    """Response time of a speech-to-speech model."""
    user_speech_ms: float | None
    agent_speech_ms: float | None
    yield_ms: float | None
    """From the user's barge-in until the agent was silent; the maximum. Only under ``turnlog``."""
    overlap_ms: float | None
    """Total time during which both spoke. Only under ``turnlog``."""

    input_tokens: float | None = None
    """Summed over LLM, STT and realtime runs, as are the next two. Only under ``turnlog``."""
    output_tokens: float | None = None
    total_tokens: float | None
    """Under a framework's rules, those of the LLM."""
    prompt_tokens: float | None
    """LLM only, as are the next three."""
    completion_tokens: float | None
    cached_tokens: float | None
    tokens_per_second: float | None
    stt_tokens: float | None
    realtime_input_tokens: float | None
    realtime_output_tokens: float | None
    realtime_tokens: float | None
    tts_characters: float | None
    stt_audio_seconds: float | None = None
    """Only under ``turnlog``, as is the next."""
    tts_audio_seconds: float | None = None

    asked: bool = False
    """The turn has a question and is not still open. Only under ``turnlog``, as are the next two."""
    unanswered: bool = False
    """The turn has a question and no response, and is not still open."""
    no_response: str | None = None
    """Why there is no response; see `projections.latency.missing.Reason`."""
    interrupted: bool
    """The user interrupted the agent."""
    false_interruption: bool
    """An interruption was suspected, or paused the agent, without a barge-in."""
    tools: int
    errors: int
    fallbacks: int
    """Provider fallbacks and recoveries."""
    discarded: str | None = None
    """Reason, if the turn was discarded; under ``turnlog`` none is."""
    at: int | None = None
    """Index of the event at which it was discarded."""

    stt: str
    """Provider of the component, as ``provider/model``; empty if unknown."""
    llm: str
    tts: str
    realtime: str
    agent: str = ""
    """Name of the agent that spoke, in a call with several. Only under ``turnlog``."""
    version: str
    """The agent's version, from the ``meta`` of ``add_participant_metrics``; empty if unknown."""


def label_of(provider: Any, model: Any) -> str:
    """``provider/model``, without the parts that are empty."""
    return "/".join(str(part) for part in (provider, model) if part)
