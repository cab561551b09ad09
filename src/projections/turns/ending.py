"""Assembly steps for interruptions and for the end of a speech, a turn and the session."""

from __future__ import annotations

from operator import attrgetter

from projections.timeline import Activity, Step
from projections.turns import barge_in, question
from projections.turns.decisions import decision
from projections.turns.state import Assembly, Unassigned


def interrupted(a: Assembly, step: Step) -> None:
    cut, x = step.activity, a.current
    assert cut is not None
    voice = barge_in.voice_behind(a.pending, step.time)
    spoken = a.fed_by if a.fed_by is not None else x
    if x is not None:
        a.add(x, cut)
    else:
        a.left.append(Unassigned(cut, "there was nothing to interrupt"))
    if x is None or x.over(step.time - 1):
        return
    a.fed_by = None
    x.cut, x.cut_by = cut, voice
    x.cut_by_words = voice is None and a.understood >= (x.asked or x.opened) and spoken is x
    x.because("voice_behind", step.at)
    if voice is not None:
        kept = barge_in.carried_over(a.pending, voice)
        a.cutting.update(v.at for v in kept)
        for v in kept:
            a.into.pop(v.at, None)


def agent_ended(a: Assembly, step: Step) -> None:
    speech = step.activity
    assert speech is not None
    x = a.homes.get(speech.at)
    voice = barge_in.ended_under(a.pending, speech, step.time) if a.timeline.realtime and x is not None else None
    if x is not None and voice is not None and x.cut is None:
        x.cut_by_voice = True
        x.because("ended_under", step.at)
        a.cutting.add(voice.at)
        a.into.pop(voice.at, None)


def turn_closed(a: Assembly, step: Step) -> None:
    """Close the current exchange if it has no question: the framework's mark separates unprompted speech only."""
    x = a.current
    if x is not None and not x.question and x.heard and not x.busy(step.time):
        x.closed = True


def handed_off(a: Assembly, step: Step) -> None:
    if a.current is not None:
        a.current.handed_off = True


def session_ended(a: Assembly, step: Step) -> None:
    x = a.current
    if x is not None and not x.over(step.time):
        x.hung_up = True


def finish(a: Assembly) -> None:
    """Resolve what is still pending at the end: unanswered speech becomes a question, the rest is unassigned."""
    t = a.timeline
    asked = [v for v in a.pending if words_at_the_end(a, v)]
    for voice in a.pending:
        if voice not in asked:
            x = a.into.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=False, into_answer=x is not None)
            a.left.append(Unassigned(voice, reason or "no speech was recognised in it"))
    a.pending = []
    if asked:
        step = Step(t.last, t.at, "", None)
        start = asked[0].start
        x = a.open(t.last if start is None else start, asked[0].at)
        x.voices, x.hung_up = asked, t.ended
        x.words = " ".join(filter(None, map(question.words_of, asked)))
        x.because("words_at_the_end", step.at)
        for voice in asked:
            a.homes[voice.at] = x
    for begun in sorted([*a.aside, *a.ahead], key=attrgetter("time", "at")):
        part = begun.activity
        assert part is not None
        home = a.homes.get(part.data.get("voice", -1)) or a.fallback.get(part.at)
        last = a.exchanges[-1] if a.exchanges else None
        if home is not None:
            a.add(home, part)
        elif part.kind == "stt" or (part.kind in ("eou", "eou_wait") and ("voice" in part.data or not asked)):
            a.left.append(Unassigned(part, "its speech was not answered"))
        elif last is None:
            a.left.append(Unassigned(part, "there was no turn to assign it to"))
        else:
            a.add(last, part)
    a.ahead, a.aside = [], []


@decision
def words_at_the_end(a: Assembly, voice: Activity) -> bool:
    """A voice with nothing after it is a question if it was recognised, or interrupted the agent."""
    if voice.at in a.cutting:
        return True
    answer = a.into.get(voice.at)
    if answer is not None and not (voice.end is None and answer.over(a.timeline.last)):
        return False  # a voice that began near the end of the answer and was cut off by the hang-up still counts
    if voice.data.get("understood"):
        return True
    return not a.timeline.hears_interims and not a.worded
