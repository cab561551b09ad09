"""Assembly steps for the user's voice and transcripts."""

from __future__ import annotations

from projections.timeline import Step
from projections.turns import question
from projections.turns.exchange import Exchange
from projections.turns.state import Assembly


def voice_started(a: Assembly, step: Step) -> None:
    voice, x = step.activity, a.current
    assert voice is not None
    if question.stands_for_typed(x, step.time):
        assert x is not None
        x.voices.append(voice)
        a.owners[voice.at] = x
        return
    if x is not None and not x.is_over(step.time):
        a.spoken_during[voice.at] = x
    a.pending.append(voice)


def transcribed(a: Assembly, step: Step) -> None:
    voice = step.activity
    if step.kind == "final":
        a.finals.append((step.time, step.text, voice, step.at))
        del a.finals[:-8]
    if voice is not None:
        a.transcribed.add(voice.at)
        x = a.owners.get(voice.at)
        if x is not None and x is a.current and x.cut is not None and x.cut_by is None and step.kind == "final":
            reopen(x)  # the framework cancelled a run that it had started too early
        if x is not None and not x.words_at:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
    recognised(a, step)


def recognised(a: Assembly, step: Step) -> None:
    voice = step.activity
    if voice is not None:
        a.recognised.add(voice.at)
    if voice is None or (not a.pending and voice.at not in a.owners):
        a.recognised_at = step.time


def question_text(a: Assembly, step: Step) -> None:
    """The framework sends the question's text to the model."""
    x, words = a.current, step.text
    pending = [voice for voice in a.pending if (voice.start or 0) <= step.time]
    pending = a.possible_questions(pending, transcribed=True) or pending
    if (
        a.timeline.realtime
        and (late := question.late_words(a.recent_exchanges(step.time), words, step.time)) is not None
    ):
        late.words = words
        late.words_at.append(step.at)
        late.add_decision("late_words", step.at)
        return
    if question.same_question(x, pending, words, step.time):
        assert x is not None
        x.add_decision("same_question", step.at)
        reopen(x)
        a.assign(x, [], words, step)
        return
    interims = a.timeline.reports_interims
    voices = question.voices_of_words(pending, words, step.time, transcribed=a.transcribed, interims=interims)
    voices = question.with_the_cut(voices, pending, a.interrupting)
    if question.continues_question(x, words):
        assert x is not None
        x.add_decision("continues_question", step.at)
        reopen(x)
        a.resolve_before(voices, step) if voices else None
        a.assign(x, voices, words, step)
        return
    if x is not None and question.words_of_run(x, voices, step.time):
        x.add_decision("words_of_run", step.at)
        a.resolve_before(voices, step) if voices else None
        a.assign(x, voices, words, step)
        if not voices:
            run = min((run for run in x.of("llm") if run.start is not None), key=lambda run: run.start or 0)
            x.typed, x.arrived, x.arrived_at = True, run.start, run.sources["start"][-1]
        return
    typed = question.missed_by_detector(voices)
    x = a.open_question(voices, words, step, "missed_by_detector" if typed else "voices_of_words")
    x.typed = typed
    if typed:
        x.arrived, x.arrived_at = question.end_of_missed(a.finals, words, step)


def reopen(x: Exchange) -> None:
    """Continue an exchange whose answer was cancelled: the cancellation only restarts it."""
    x.cut = x.cut_by = None
    x.cut_by_words = x.closed = x.superseded = False
