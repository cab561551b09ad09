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
        a.homes[voice.at] = x
        return
    if x is not None and not x.over(step.time):
        a.into[voice.at] = x
    a.pending.append(voice)


def worded(a: Assembly, step: Step) -> None:
    voice = step.activity
    if step.what == "final":
        a.finals.append((step.time, step.text, voice, step.at))
        del a.finals[:-8]
    if voice is not None:
        a.worded.add(voice.at)
        x = a.homes.get(voice.at)
        if x is not None and x is a.current and x.cut is not None and x.cut_by is None and step.what == "final":
            reopen(x)  # the framework cancelled a run that it had started too early
        if x is not None and not x.words_at:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
    understood(a, step)


def understood(a: Assembly, step: Step) -> None:
    voice = step.activity
    if voice is not None:
        a.heard_of.add(voice.at)
    if voice is None or (not a.pending and voice.at not in a.homes):
        a.understood = step.time


def words(a: Assembly, step: Step) -> None:
    """The framework sends the question's text to the model."""
    x, words = a.current, step.text
    pending = [voice for voice in a.pending if (voice.start or 0) <= step.time]
    pending = a.asking(pending, worded=True) or pending
    if a.timeline.realtime and (late := question.late_words(a.lately(step.time), words, step.time)) is not None:
        late.words = words
        late.words_at.append(step.at)
        late.because("late_words", step.at)
        return
    if question.same_question(x, pending, words, step.time):
        assert x is not None
        x.because("same_question", step.at)
        reopen(x)
        a.give(x, [], words, step)
        return
    heard = a.timeline.hears_interims
    voices = question.voices_of_words(pending, words, step.time, worded=a.worded, interims=heard)
    voices = question.with_the_cut(voices, pending, a.cutting)
    if question.continues_question(x, words):
        assert x is not None
        x.because("continues_question", step.at)
        reopen(x)
        a.drop(voices, step) if voices else None
        a.give(x, voices, words, step)
        return
    if x is not None and question.words_of_run(x, voices, step.time):
        x.because("words_of_run", step.at)
        a.drop(voices, step) if voices else None
        a.give(x, voices, words, step)
        if not voices:
            run = min((run for run in x.of("llm") if run.start is not None), key=lambda run: run.start or 0)
            x.typed, x.came, x.came_at = True, run.start, run.says["start"][-1]
        return
    typed = question.missed_by_detector(voices)
    x = a.ask(voices, words, step, "missed_by_detector" if typed else "voices_of_words")
    x.typed = typed
    if typed:
        x.came, x.came_at = question.end_of_missed(a.finals, words, step)


def reopen(x: Exchange) -> None:
    """Continue an exchange whose answer was cancelled: the cancellation only restarts it."""
    x.cut = x.cut_by = None
    x.cut_by_words = x.closed = x.superseded = False
