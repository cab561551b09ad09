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
    playing = a.synthesised_for if a.synthesised_for is not None else x
    if x is not None:
        a.add(x, cut)
    else:
        a.unassigned.append(Unassigned(cut, "there was nothing to interrupt"))
    if x is None or x.is_over(step.time - 1):
        return
    a.synthesised_for = None
    x.cut, x.cut_by = cut, voice
    x.cut_by_words = voice is None and a.recognised_at >= (x.sent or x.opened) and playing is x
    x.add_decision("voice_behind", step.at)
    if voice is not None:
        kept = barge_in.carried_over(a.pending, voice)
        a.interrupting.update(v.at for v in kept)
        for v in kept:
            a.spoken_during.pop(v.at, None)


def agent_ended(a: Assembly, step: Step) -> None:
    speech = step.activity
    assert speech is not None
    x = a.owners.get(speech.at)
    voice = barge_in.ended_under(a.pending, speech, step.time) if a.timeline.realtime and x is not None else None
    if x is not None and voice is not None and x.cut is None:
        x.cut_by_voice = True
        x.add_decision("ended_under", step.at)
        a.interrupting.add(voice.at)
        a.spoken_during.pop(voice.at, None)


def turn_closed(a: Assembly, step: Step) -> None:
    """Close the current exchange if it has no question: the framework's mark separates unprompted speech only."""
    x = a.current
    if x is not None and not x.question and x.has_speech and not x.is_busy(step.time):
        x.closed = True


def handed_off(a: Assembly, step: Step) -> None:
    if a.current is not None:
        a.current.handed_off = True


def session_ended(a: Assembly, step: Step) -> None:
    x = a.current
    if x is not None and not x.is_over(step.time):
        x.hung_up = True


def finish(a: Assembly) -> None:
    """Resolve what is still pending at the end: unanswered speech becomes a question, the rest is unassigned."""
    t = a.timeline
    questions = [v for v in a.pending if words_at_the_end(a, v)]
    for voice in a.pending:
        if voice not in questions:
            x = a.spoken_during.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=False, into_answer=x is not None)
            a.unassigned.append(Unassigned(voice, reason or "no speech was recognised in it"))
    a.pending = []
    if questions:
        step = Step(t.last, t.at, "", None)
        start = questions[0].start
        x = a.open(t.last if start is None else start, questions[0].at)
        x.voices, x.hung_up = questions, t.ended
        x.words = " ".join(filter(None, map(question.words_of, questions)))
        x.add_decision("words_at_the_end", step.at)
        for voice in questions:
            a.owners[voice.at] = x
    for early in sorted([*a.orphaned, *a.early], key=attrgetter("time", "at")):
        part = early.activity
        assert part is not None
        owner = a.owners.get(part.data.get("voice", -1)) or a.fallback_owners.get(part.at)
        last = a.exchanges[-1] if a.exchanges else None
        if owner is not None:
            a.add(owner, part)
        elif part.kind == "stt" or (part.kind in ("eou", "eou_wait") and ("voice" in part.data or not questions)):
            a.unassigned.append(Unassigned(part, "its speech was not answered"))
        elif last is None:
            a.unassigned.append(Unassigned(part, "there was no turn to assign it to"))
        else:
            a.add(last, part)
    a.early, a.orphaned = [], []


@decision
def words_at_the_end(a: Assembly, voice: Activity) -> bool:
    """A voice with nothing after it is a question if it was recognised, or interrupted the agent."""
    if voice.at in a.interrupting:
        return True
    answer = a.spoken_during.get(voice.at)
    if answer is not None and not (voice.end is None and answer.is_over(a.timeline.last)):
        return False  # a voice that began near the end of the answer and was cut off by the hang-up still counts
    if voice.data.get("understood"):
        return True
    return not a.timeline.reports_interims and not a.transcribed
