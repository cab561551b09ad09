"""Pipecat's values as plain data for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipecat.frames import frames as f
from pipecat.metrics.metrics import LLMTokenUsage


def json_of(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def frame_fields(frame: f.Frame) -> dict[str, Any]:
    """The frame's fields with plain values, without objects of the pipeline."""
    if isinstance(frame, f.ServiceUpdateSettingsFrame):  # settings may hold keys
        return {}
    return {
        name: value
        for name, value in vars(frame).items()
        if not name.startswith("_") and name not in _OWN and isinstance(value, (str, int, float, bool, dict, list))
    }


_OWN = {"id", "name", "pts", "broadcast_sibling_id", "metadata", "interruptible"}


def tokens(usage: LLMTokenUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_cached_tokens": usage.cache_read_input_tokens,
    }


def realtime_tokens(usage: LLMTokenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "input_cached_tokens": usage.cache_read_input_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "cached_audio_tokens": usage.cache_read_input_audio_tokens,
        "thoughts_tokens": usage.reasoning_tokens,
    }
