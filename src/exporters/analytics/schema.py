"""The analytics payload as a pydantic model. ``turnlog schema`` prints its JSON Schema.

Which fields are present depends on the turn (see `projections.reference.payload`); a field that is present may be
null where nothing was measured. Latencies and durations are milliseconds, times are seconds on the agent's monotonic
clock.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Milliseconds = float | None
Seconds = float | None
Count = int | None


class TimelineEntry(BaseModel):
    """One stretch of user or agent speech."""

    model_config = ConfigDict(extra="forbid", strict=True)

    eventType: str = Field(description="user_speech or agent_speech.")
    startTime: Seconds
    endTime: Seconds = Field(description="Null if it was never ended.")
    durationInMs: Milliseconds
    text: str | None


class AnalyticsPayload(BaseModel):
    """The reference's payload for a turn, field for field (rule set videosdk-1.0; later ones add fields)."""

    model_config = ConfigDict(extra="forbid", strict=True, title="Analytics payload of a turn")

    e2eLatency: Milliseconds = Field(
        description="The sum of the STT, EOU, LLM and TTS latencies, or the realtime TTFB."
    )
    interrupted: bool
    userSpeechStartTime: Seconds
    userSpeechEndTime: Seconds
    userSpeechDuration: Milliseconds
    user_speech: str | None
    agentSpeechStartTime: Seconds
    agentSpeechEndTime: Seconds
    agentSpeechDuration: Milliseconds
    agent_speech: str | None
    functionToolsCalled: list[str]
    handOffOccurred: bool = Field(default=False, description="Only with agent-to-agent.")
    timeline: list[TimelineEntry]
    systemInstructions: str = Field(default="", description="In the first payload only.")

    sttLatency: Milliseconds = None
    sttPreflightLatency: Milliseconds = None
    sttInterimLatency: Milliseconds = None
    sttConfidence: float | None = None
    sttDuration: float | None = None
    eouLatency: Milliseconds = None
    eouWaitMs: Milliseconds = Field(default=None, description="Since videosdk-1.0.11.")
    eouProbability: float | None = Field(default=None, description="Since videosdk-1.0.11.")
    ttft: Milliseconds = Field(default=None, description="LLM: time to first token.")
    llmDuration: Milliseconds = None
    promptTokens: Count = None
    completionTokens: Count = None
    totalTokens: Count = None
    promptCachedTokens: Count = None
    tokensPerSecond: float | None = None
    kbId: str | None = None
    kbDocuments: list[Any] | None = None
    kbScores: list[float] | None = None
    kbRetrievals: list[Any] | None = Field(default=None, description="Since videosdk-1.0.30.")
    kbRetrievalLatency: Milliseconds = None
    ttsLatency: Milliseconds = None
    ttfb: Milliseconds = Field(default=None, description="TTS, or realtime: time to first byte.")
    ttsDuration: Milliseconds = None
    ttsCharacters: Count = None
    realtimeInputTokens: Count = None
    realtimeTotalTokens: Count = None
    realtimeOutputTokens: Count = None
    realtimeInputTextTokens: Count = None
    realtimeInputAudioTokens: Count = None
    realtimeInputImageTokens: Count = None
    realtimeInputCachedTokens: Count = None
    realtimeThoughtsTokens: Count = None
    realtimeCachedTextTokens: Count = None
    realtimeCachedAudioTokens: Count = None
    realtimeCachedImageTokens: Count = None
    realtimeOutputTextTokens: Count = None
    realtimeOutputAudioTokens: Count = None
    realtimeOutputImageTokens: Count = None

    sttProviderClass: str = ""
    sttModelName: str | None = None
    llmProviderClass: str = ""
    llmModelName: str | None = None
    ttsProviderClass: str = ""
    ttsModelName: str | None = None
    realtimeProviderClass: str = ""
    realtimeModelName: str | None = None
    vadProviderClass: str = Field(default="", description="In the first payload only.")
    vadModelName: str | None = Field(default=None, description="In the first payload only.")
    eouProviderClass: str = Field(default="", description="In the first payload only.")
    eouModelName: str | None = Field(default=None, description="In the first payload only.")
