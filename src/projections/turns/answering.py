"""Assembly steps that assign an answer's runs, tool calls and speech to their exchange."""

from __future__ import annotations

from projections.timeline import Activity, Step
from projections.turns import answer, question
from projections.turns.exchange import Exchange
from projections.turns.state import Assembly

REPORT_WHAT_WAS_HEARD = ("livekit-agents", "pipecat-ai")
"""Frameworks that report the agent's text only after playback, possibly while the next answer is being synthesised."""


def llm_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    if x is not None and x.cut is None and answer.run_is_due(x):
        x.because("run_is_due", step.at)
        a.add(x, run)
        return
    over = x is None or x.over(now)
    worded = a.asking([voice for voice in a.pending if voice.at in a.worded])
    if x is not None and not over and not (worded and (x.heard or x.words_at)):
        if worded and not answer.follows_a_tool(x, now):
            a.give(x, a.in_a_row(worded), "", step)
    elif x is not None and answer.follows_a_tool(x, now) and x.cut is None:
        x.because("follows_a_tool", step.at)
    elif voices := worded or _heard(a, now):
        x = a.ask(a.in_a_row(voices), "", step, "voices_in_a_row")
    elif over:
        x = a.open(now, step.at)
        x.because("speaks_unasked", step.at)
    assert x is not None
    a.add(x, run)


def _heard(a: Assembly, now: int) -> list[Activity]:
    """The pending voices that STT has recognised; without interim transcripts, those that have ended."""
    if a.timeline.hears_interims:
        return a.asking([voice for voice in a.pending if voice.at in a.heard_of])
    return a.ended_pending(now)


def tts_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    if a.said:
        x = say_something(a, step)
    elif answer.speaks_unasked(x, now):
        ended = a.ended_pending(now)
        if ended and (a.timeline.realtime or all(voice.at in a.worded for voice in ended)):
            x = a.ask(a.in_a_row(ended), "", step, "voices_in_a_row")
        else:
            x = a.open(now, step.at)
            x.because("speaks_unasked", step.at)
    assert x is not None
    a.add(x, run)
    a.fed_by = x


def say_something(a: Assembly, step: Step) -> Exchange:
    """Open a turn for scripted speech; a question that is being answered stays the current one."""
    going_on = a.current
    x = a.open(step.time, step.at)
    x.because("speaks_unasked", step.at)
    if going_on is not None and going_on.question and not going_on.over(step.time):
        a.current = going_on
    return x


def agent_started(a: Assembly, step: Step) -> None:
    speech, x, now = step.activity, a.current, step.time
    assert speech is not None
    if a.fed_by is not None:
        a.add(a.fed_by, speech)
        a.speaker, a.fed_by = a.fed_by, None
        return
    ended = a.ended_pending(now)
    if ended and (a.timeline.realtime or x is None or x.over(now)) and _answers(a, ended):
        x = a.ask(a.in_a_row(ended), "", step, "voices_in_a_row")
    elif a.said:
        x = say_something(a, step)
    elif not answer.goes_on_speaking(x, now) and answer.speaks_unasked(x, now):
        x = a.open(now, step.at)
        x.because("speaks_unasked", step.at)
    assert x is not None
    a.add(x, speech)
    a.speaker = x


def _answers(a: Assembly, ended: list[Activity]) -> bool:
    """Whether the agent can have recognised a question in these voices."""
    return a.timeline.realtime or any(voice.at in a.worded for voice in ended) or not a.timeline.hears_interims


def agent_text(a: Assembly, step: Step) -> None:
    x = a.fed_by or a.current
    if a.writer is not None and step.time - a.wrote < question.STAND_IN_NS:
        a.say(a.writer, step.text, step.at)  # text of the run that has just ended
        return
    heard = a.speaker if a.timeline.framework in REPORT_WHAT_WAS_HEARD else None
    if heard is not None and (a.fed_by in (None, heard) or not heard.texts):
        a.say(heard, step.text, step.at)
        return
    if x is None or a.said or (x.over(step.time) and x.texts and not x.question and x.cut is None):
        a.text = step.text, step.at
    elif not (not x.parts and len(a.exchanges) > 1 and step.text in a.exchanges[-2].texts):  # a late repetition
        a.say(x, step.text, step.at)


def run_ended(a: Assembly, step: Step) -> None:
    run = step.activity
    assert run is not None
    a.writer, a.wrote = a.homes.get(run.at), step.time


def said(a: Assembly, step: Step) -> None:
    """The next synthesis is scripted speech; while a tool runs, it is a filler of the current answer."""
    x = a.current
    a.said = x is None or x.over(step.time) or not x.question or not answer.filler(x, step.time)
    if a.said and step.text:
        a.text = step.text, step.at


def tool_started(a: Assembly, step: Step) -> None:
    call = step.activity
    assert call is not None
    x = answer.caller_of_tool(a.exchanges, call, a.named)
    if x is None and a.ended_pending(step.time):
        a.ahead.append(step)
        return
    x = x or a.current
    if x is None:
        x = a.open(step.time, step.at)
        x.because("speaks_unasked", step.at)
    x.because("caller_of_tool", step.at)
    a.add(x, call)


def run_started(a: Assembly, step: Step) -> None:
    """Assign a retrieval to the question being answered; keep STT and end-of-utterance runs for the pending voices."""
    run, x = step.activity, a.current
    assert run is not None
    if x is not None and not a.pending and not x.over(step.time):
        a.add(x, run)
    else:
        a.ahead.append(step)


def realtime_usage(a: Assembly, step: Step) -> None:
    run, x = step.activity, a.current
    assert run is not None
    if a.ended_pending(step.time) or x is None:
        a.ahead.append(step)
    else:
        a.add(x, run)


def belongs_to_now(a: Assembly, step: Step) -> None:
    part, x = step.activity, a.current
    assert part is not None
    if x is None or (x.over(step.time) and a.pending):
        a.ahead.append(step)
        if x is not None:
            a.fallback[part.at] = x
    else:
        a.add(x, part)
