"""The user's voice, as reported by VAD or the framework."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.registry import ns, to_session_time, with_args
from projections.timeline.state import Timeline

SAME_NS = 1_000_000
"""Maximum interval between two reports of one start, by different hooks."""
CORRECTION_NS = 2_000_000_000
"""Time during which a second report of an end corrects the first."""
KEPT = 16
"""Number of recent voices that are kept."""


@with_args
def on_user_speech_start(t: Timeline, now: int, args: Args) -> None:
    """Start a voice; a local VAD takes precedence over the provider's (1.0.27)."""
    if t.local_vad and not args.get("local_vad"):
        t.ignore("a local VAD reports the user's speech")
        return
    start_voice(t, now)


def start_voice(t: Timeline, now: int) -> None:
    known = t.voice if t.voice is not None and "answered" not in t.voice.data else None
    for voice in t.recent_voices:
        if -SAME_NS < (voice.start or 0) - now < SAME_NS:
            known = voice
            break
    if known is not None:
        known.add_source("start", t.at)
        return
    wait = t.eou_wait
    if wait is not None and not wait.end_reported and wait.end is not None and wait.end > now:
        wait.finish(max(now, wait.start or now), "cancelled", t.at, reported=False)  # the user went on
    t.voice = t.begin("voice", now)
    t.recent_voices.append(t.voice)
    del t.recent_voices[:-KEPT]
    t.step("voice started", t.voice)


@with_args
def on_user_speech_end(t: Timeline, now: int, args: Args) -> None:
    if t.local_vad and not args.get("local_vad"):
        t.ignore("a local VAD reports the user's speech")
        return
    end_voice(t, now, to_session_time(t, args.get("at")))


def end_voice(t: Timeline, now: int, reported_end: int | None = None) -> None:
    """End the latest voice that had started by then.

    VAD waits in silence before it reports an end: that hangover is subtracted, but not from a ``reported_end``.
    """
    if not t.recent_voices:
        t.ignore("no voice had started")
        return
    end = now - t.silence_ns if reported_end is None else reported_end
    voice = _latest_started(t, reported_end or now)
    if voice is None or (voice.end is not None and now - voice.data.get("reported", now) > CORRECTION_NS):
        t.ignore("no voice had started since the last one ended")
        return
    voice.finish(max(end, voice.start or end), "done", t.at, reported=True)
    voice.data["reported"] = now
    if reported_end is None and t.silence_ns:
        voice.add_source("end", ~t.silence_at)
        voice.add_source("end", t.at)
    if voice is t.voice:
        t.voice = None


def _latest_started(t: Timeline, now: int) -> Activity | None:
    """The latest voice that had started by then."""
    for voice in reversed(t.recent_voices):
        if voice.start is not None and voice.start <= now:
            return voice
    return None


@with_args
def set_local_vad_user_speech(t: Timeline, now: int, args: Args) -> None:
    t.local_vad = bool(args.get("owns"))


@with_args
def set_vad_config(t: Timeline, now: int, args: Args) -> None:
    """Set the VAD configuration; its hangover applies from the current voice on."""
    config = args.get("vad_config")
    silence = ns(config.get("min_silence_duration")) if isinstance(config, dict) else None
    t.silence_ns, t.silence_at = max(0, silence or 0), t.at
    if isinstance(config, dict):
        t.vad_config = config


def latest(t: Timeline) -> Activity | None:
    """The current or last voice."""
    return t.recent_voices[-1] if t.recent_voices else None
