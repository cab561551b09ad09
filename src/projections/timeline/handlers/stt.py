"""STT runs and their transcripts, matched with voices."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.handlers.usage import add_tokens, run_of_usage
from projections.timeline.handlers.voice import latest
from projections.timeline.registry import text, with_args, without_args
from projections.timeline.state import Timeline

SAME_NS = 5_000_000
"""Maximum interval between hooks of the same moment."""
LATE_NS = 10_000_000_000
"""Maximum delay from the end of a voice to its final transcript."""
JUST_NS = 1_000_000_000
"""Time after its end during which STT still transcribes a voice."""


@without_args
def on_stt_start(t: Timeline, now: int) -> None:
    """Start a run. Called at the first interim, and again at the end of the voice: finalisation counts from there."""
    run = _current_run(t)
    if run is None or (_current_voice(t) is None and now - run.data.get("finalising", now) > JUST_NS):
        run = _start_run(t)
    run.data["finalising"] = now
    run.add_source("finalising", t.at)


def _start_run(t: Timeline, *, reported: bool = True) -> Activity:
    """Start a run for the current voice."""
    voice = _current_voice(t)
    t.stt_voice = -1 if voice is None else voice.at
    t.stt = t.begin("stt", t.now) if reported else t.begin_unreported("stt")
    t.step("run started", t.stt)
    return t.stt


def _current_voice(t: Timeline) -> Activity | None:
    """The voice that is active now, or ended just now."""
    voice = t.voice or latest(t)
    return voice if voice is t.voice or (voice and t.now - voice.data["reported"] < SAME_NS) else None


def _current_run(t: Timeline) -> Activity | None:
    """The open run, unless a voice other than its own is active; a run without a voice adopts the active one."""
    voice = _current_voice(t)
    if t.stt is None or t.stt.end is not None or (voice is not None and t.stt_voice not in (-1, voice.at)):
        return None
    if voice is not None:
        t.stt_voice = voice.at
    return t.stt


def _open_run(t: Timeline) -> Activity:
    """The run of an interim or preflight transcript: one that has just ended, as some providers repeat the final
    text, else the open run or a new one.
    """
    if t.stt is not None and t.stt.end is not None and t.now - t.stt.end <= SAME_NS:
        return t.stt
    return _current_run(t) or _start_run(t, reported=False)


def _is_too_late(t: Timeline) -> bool:
    """Whether the run's voice ended too long ago for a transcript to come."""
    voice = next((voice for voice in t.recent_voices if voice.at == t.stt_voice), None)
    return voice is not None and voice.end is not None and t.now - voice.data["reported"] > LATE_NS


@without_args
def on_stt_interim_end(t: Timeline, now: int) -> None:
    interim(t, now, "")


def interim(t: Timeline, now: int, words: str) -> None:
    run = _open_run(t)
    run.set_first_output(now, t.at)
    data = run.data
    data["interims"] = data.get("interims", 0) + 1
    t.reports_interims = True
    _add_preliminary(t, run, "interim", words)


def _add_preliminary(t: Timeline, run: Activity, how: str, words: str) -> None:
    """Record a preliminary transcript: it shows that the voice is speech, not noise."""
    voice = voice_of(t, run)
    if voice is not None:
        voice.data["understood"] = True
        run.data["voice"] = voice.at
        if words:
            voice.data[how] = words
        voice.add_source("understood", t.at)
    t.step(how, voice, text=words)


@with_args
def on_stt_preflight_end(t: Timeline, now: int, args: Args) -> None:
    """Record the transcript on which the LLM may start before the final one."""
    run, words = _open_run(t), text(args.get("transcript"))
    run.data["preflight"] = now
    run.add_source("preflight", t.at)
    _add_preliminary(t, run, "preflight", words)


@with_args
def on_stt_complete(t: Timeline, now: int, args: Args) -> None:
    over = t.stt is None or t.stt.end is not None or _is_too_late(t)
    run, words = _start_run(t, reported=False) if t.stt is None or over else t.stt, text(args.get("transcript"))
    run.finish(now, "done", t.at, reported=True)
    run.data["transcript"], run.data["confidence"] = args.get("transcript"), args.get("confidence")
    run.data["duration"] = args.get("duration")
    if not words:
        return
    voice = voice_of_final(t, run)
    t.transcribed_voice = -1 if voice is None else voice.at
    if voice is not None:
        run.data["voice"] = voice.at
        voice.data.setdefault("finals", []).append(words)
        voice.data["understood"] = True
        voice.add_source("finals", t.at)
    t.step("final", voice, text=words)


def voice_of(t: Timeline, run: Activity) -> Activity | None:
    """The voice that a run transcribes: the active one, or one that began in the run or just ended before it."""
    voice = latest(t)
    if voice is None or voice is t.voice:
        return voice
    begun = run.start if run.start is not None else run.first if run.first is not None else t.now
    if (voice.start or 0) >= begun:
        return voice
    return voice if voice.end is None or voice.data["reported"] >= begun - JUST_NS else None


def voice_of_final(t: Timeline, run: Activity) -> Activity | None:
    """The voice of a final transcript: the previous one, if it has no final and the next is already active.

    A previous voice without a finalisation, and without interims where STT reports them, is noise.
    """
    voice = voice_of(t, run)
    if t.voice is None or voice is not t.voice or len(t.recent_voices) < 2:
        return voice
    before = t.recent_voices[-2]
    if before.end is None or t.now - before.end > LATE_NS or "finals" in before.data or voice.data.get("understood"):
        return voice
    if abs(run.data.get("finalising", 0) - before.data["reported"]) < SAME_NS:
        return before  # finalisation started at its end
    recognised = before.data.get("understood") or not t.reports_interims
    return before if recognised and not before.data.get("answered") else voice


@with_args
def emit_user_transcript_transport(t: Timeline, now: int, args: Args) -> None:
    if args.get("type") == "interim" and text(args.get("text")):
        interim(t, now, text(args["text"]))


@with_args
def set_stt_usage(t: Timeline, now: int, args: Args) -> None:
    run = run_of_usage(t, "stt", t.stt)
    if run is not None:
        add_tokens(run, t.at, args.get("input_tokens"), args.get("output_tokens"), args.get("total_tokens"))


@with_args
def set_preemptive_generation_enabled(t: Timeline, now: int, args: Args) -> None:
    t.preemptive = bool(args.get("enabled"))
