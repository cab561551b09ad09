"""Speech to text: what was understood of a voice, and when."""

from __future__ import annotations

from eventstore.hooks.arguments import Args
from projections.timeline.activity import Activity
from projections.timeline.handlers.usage import add_tokens, run_of_usage
from projections.timeline.handlers.voice import latest
from projections.timeline.registry import text, with_args, without_args
from projections.timeline.state import Timeline

SAME_NS = 5_000_000
LATE_NS = 10_000_000_000
"""Final words that come later than that after a voice are none of it."""
JUST_NS = 1_000_000_000
"""STT goes on hearing a voice for that long after its end."""


@without_args
def on_stt_start(t: Timeline, now: int) -> None:
    """Called when the first words show, and again when the voice ended: then it counts how long the final takes."""
    run = _going_on(t)
    if run is None or (_heard(t) is None and now - run.data.get("finalising", now) > JUST_NS):
        run = _begin(t)
    run.data["finalising"] = now
    run.say("finalising", t.at)


def _begin(t: Timeline, *, reported: bool = True) -> Activity:
    """A new run, of the voice that is heard."""
    voice = _heard(t)
    t.stt_voice = -1 if voice is None else voice.at
    t.stt = t.begin("stt", t.now) if reported else t.begin_unreported("stt")
    t.step("run started", t.stt)
    return t.stt


def _heard(t: Timeline) -> Activity | None:
    """The voice that is heard at this moment, or ended at it."""
    voice = t.voice or latest(t)
    return voice if voice is t.voice or (voice and t.now - voice.data["reported"] < SAME_NS) else None


def _going_on(t: Timeline) -> Activity | None:
    """The run that is not over yet, unless another voice is heard than its own; one without a voice takes that."""
    voice = _heard(t)
    if t.stt is None or t.stt.end is not None or (voice is not None and t.stt_voice not in (-1, voice.at)):
        return None
    if voice is not None:
        t.stt_voice = voice.at
    return t.stt


def _hearing(t: Timeline) -> Activity:
    """The run of words that are not final; one that has just ended, as some report the words of a final again."""
    if t.stt is not None and t.stt.end is not None and t.now - t.stt.end <= SAME_NS:
        return t.stt
    return _going_on(t) or _begin(t, reported=False)


def _is_given_up(t: Timeline) -> bool:
    """Whether the voice that the run is of ended so long ago that no words of it will come any more."""
    voice = next((voice for voice in t.heard if voice.at == t.stt_voice), None)
    return voice is not None and voice.end is not None and t.now - voice.data["reported"] > LATE_NS


@without_args
def on_stt_interim_end(t: Timeline, now: int) -> None:
    interim(t, now, "")


def interim(t: Timeline, now: int, words: str) -> None:
    run = _hearing(t)
    run.put_out(now, t.at)
    data = run.data
    data["interims"] = data.get("interims", 0) + 1
    t.hears_interims = True
    _understood(t, run, "interim", words)


def _understood(t: Timeline, run: Activity, how: str, words: str) -> None:
    """Words that are not final yet: they show that the voice is speech, and no noise."""
    voice = voice_of(t, run)
    if voice is not None:
        voice.data["understood"] = True
        run.data["voice"] = voice.at
        if words:
            voice.data[how] = words
        voice.say("understood", t.at)
    t.step(how, voice, text=words)


@with_args
def on_stt_preflight_end(t: Timeline, now: int, args: Args) -> None:
    """Words on which the LLM may start before they are final."""
    run, words = _hearing(t), text(args.get("transcript"))
    run.data["preflight"] = now
    run.say("preflight", t.at)
    _understood(t, run, "preflight", words)


@with_args
def on_stt_complete(t: Timeline, now: int, args: Args) -> None:
    over = t.stt is None or t.stt.end is not None or _is_given_up(t)
    run, words = _begin(t, reported=False) if t.stt is None or over else t.stt, text(args.get("transcript"))
    run.finish(now, "done", t.at, reported=True)
    run.data["transcript"], run.data["confidence"] = args.get("transcript"), args.get("confidence")
    run.data["duration"] = args.get("duration")
    if not words:
        return
    voice = voice_of_final(t, run)
    t.worded = -1 if voice is None else voice.at
    if voice is not None:
        run.data["voice"] = voice.at
        voice.data.setdefault("finals", []).append(words)
        voice.data["understood"] = True
        voice.say("finals", t.at)
    t.step("final", voice, text=words)


def voice_of(t: Timeline, run: Activity) -> Activity | None:
    """The voice that a run hears: the one that is heard, began in the run, or had just ended when it began."""
    voice = latest(t)
    if voice is None or voice is t.voice:
        return voice
    begun = run.start if run.start is not None else run.first if run.first is not None else t.now
    if (voice.start or 0) >= begun:
        return voice
    return voice if voice.end is None or voice.data["reported"] >= begun - JUST_NS else None


def voice_of_final(t: Timeline, run: Activity) -> Activity | None:
    """The voice that final words are of: the oldest ended one without words, if another is heard already.

    A voice whose end STT was not started on, and of which it heard nothing where it reports what it hears, is noise.
    """
    voice = voice_of(t, run)
    if t.voice is None or voice is not t.voice or len(t.heard) < 2:
        return voice
    before = t.heard[-2]
    if before.end is None or t.now - before.end > LATE_NS or "finals" in before.data or voice.data.get("understood"):
        return voice
    if abs(run.data.get("finalising", 0) - before.data["reported"]) < SAME_NS:
        return before  # STT was started on its end
    heard = before.data.get("understood") or not t.hears_interims
    return before if heard and not before.data.get("answered") else voice


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
