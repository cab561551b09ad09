"""A turn's numbers: one flat record for each, whatever the rules, for statistics over many calls.

Names end in their unit where they have one: ``_ms`` is milliseconds. A number is None where nothing was measured, and
where an agent handed over what is not a finite number. `projections.measures` makes the records.
"""

from __future__ import annotations

from typing import Any

import msgspec

COMPONENTS = ("stt", "llm", "tts", "realtime")


class TurnMeasures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A turn's numbers, and what they can be grouped by.

    Under ``turnlog`` the run of a component counts that the agent's first sound came from, tokens and audio are those
    of all runs; under a framework's rules it is the last entry, as in `Latency`.
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
    """From the end of the user's last word to the agent's first sound. Only under ``turnlog``."""
    time_to_answer_ms: float | None = None
    """Until the answer that a tool's result was waited for, where the agent spoke before it. Only under ``turnlog``."""
    e2e_ms: float | None
    """As the rules define it; under ``turnlog`` the response."""
    framework_e2e_ms: float | None = None
    """What the framework itself reported. Only under ``turnlog``."""
    eou_wait_ms: float | None
    """How long the agent waited for the user to go on; under ``turnlog``, of the response."""
    stt_ms: float | None
    stt_interim_ms: float | None
    """Until the first interim transcript."""
    stt_preflight_ms: float | None
    """Until the transcript on which the LLM could start early."""
    eou_ms: float | None
    kb_ms: float | None
    """Retrieval from the knowledge base."""
    tool_ms: float | None = None
    """How long tools were at work; time in which several were counts once. Only under ``turnlog``."""
    llm_ttft_ms: float | None
    """Until the first token."""
    llm_ms: float | None
    """Until the last token."""
    tts_ms: float | None
    """From the request until it was heard; under a framework's rules known only once the agent has spoken."""
    tts_first_byte_ms: float | None
    """From the request to the first byte."""
    realtime_ms: float | None
    """Until a speech-to-speech model answers."""
    user_speech_ms: float | None
    agent_speech_ms: float | None
    yield_ms: float | None
    """From the user's barge-in until the agent was silent; the longest, of several. Only under ``turnlog``."""
    overlap_ms: float | None
    """How long both spoke at once, in all. Only under ``turnlog``."""

    input_tokens: float | None = None
    """Of all runs, LLM, STT and realtime; so are the two below. Only under ``turnlog``."""
    output_tokens: float | None = None
    total_tokens: float | None
    """Under a framework's rules those of the LLM."""
    prompt_tokens: float | None
    """Of the LLM alone, as are the next three."""
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
    """The user asked something, and its time for an answer is over. Only under ``turnlog``, as are the next two."""
    unanswered: bool = False
    """Something was asked, and no answer was heard; not of a turn that is still open."""
    no_response: str | None = None
    """Why there is no response; see `projections.latency.missing.Reason`."""
    interrupted: bool
    """The user cut the agent off."""
    false_interruption: bool
    """The agent stopped, or was suspected to have to, for what was not a barge-in."""
    tools: int
    errors: int
    fallbacks: int
    """Providers that failed over, or came back."""
    discarded: str | None = None
    """Why, if it was; under ``turnlog`` no turn is."""
    at: int | None = None
    """Index of the event at which it was discarded."""

    stt: str
    """Who served the component in the turn, as ``provider/model``; empty where nothing was said of it."""
    llm: str
    tts: str
    realtime: str
    agent: str = ""
    """Which agent spoke, of several. Only under ``turnlog``."""
    version: str
    """The agent's, from the ``meta`` with which it joined (``add_participant_metrics``); empty if it says none."""


def label_of(provider: Any, model: Any) -> str:
    """``provider/model``, as far as they are given."""
    return "/".join(str(part) for part in (provider, model) if part)
