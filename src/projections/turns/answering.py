"""Assembly steps that assign an answer's runs, tool calls and speech to their exchange."""

from __future__ import annotations

from projections.timeline import Activity, Step
from projections.turns import answer, question
from projections.turns.exchange import Exchange
from projections.turns.state import Assembly

REPORTS_PLAYED_TEXT = ("livekit-agents", "pipecat-ai")
"""Frameworks that report the agent's text only after playback, possibly while the next answer is being synthesised."""


def llm_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    if x is not None and x.cut is None and answer.run_is_due(x):
        x.add_decision("run_is_due", step.at)
        a.add(x, run)
        return
    over = x is None or x.is_over(now)
    transcribed = a.possible_questions([voice for voice in a.pending if voice.at in a.transcribed])
    if x is not None and not over and not (transcribed and (x.has_speech or x.words_at)):
        if transcribed and not answer.follows_a_tool(x, now):
            a.assign(x, a.consecutive(transcribed), "", step)
    elif x is not None and answer.follows_a_tool(x, now) and x.cut is None:
        x.add_decision("follows_a_tool", step.at)
    elif voices := transcribed or _recognised_pending(a, now):
        x = a.open_question(a.consecutive(voices), "", step, "voices_in_a_row")
    elif over:
        x = a.open(now, step.at)
        x.add_decision("speaks_unasked", step.at)
    assert x is not None
    a.add(x, run)


def _recognised_pending(a: Assembly, now: int) -> list[Activity]:
    """The pending voices that STT has recognised; without interim transcripts, those that have ended."""
    if a.timeline.reports_interims:
        return a.possible_questions([voice for voice in a.pending if voice.at in a.recognised])
    return a.ended_pending(now)


def tts_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    if a.say_pending:
        x = open_scripted(a, step)
    elif answer.speaks_unasked(x, now):
        ended = a.ended_pending(now)
        if ended and (a.timeline.realtime or all(voice.at in a.transcribed for voice in ended)):
            x = a.open_question(a.consecutive(ended), "", step, "voices_in_a_row")
        else:
            x = a.open(now, step.at)
            x.add_decision("speaks_unasked", step.at)
    assert x is not None
    a.add(x, run)
    a.synthesised_for = x


def open_scripted(a: Assembly, step: Step) -> Exchange:
    """Open a turn for scripted speech; a question that is being answered stays the current one."""
    answering = a.current
    x = a.open(step.time, step.at)
    x.add_decision("speaks_unasked", step.at)
    if answering is not None and answering.question and not answering.is_over(step.time):
        a.current = answering
    return x


def agent_started(a: Assembly, step: Step) -> None:
    speech, x, now = step.activity, a.current, step.time
    assert speech is not None
    if a.synthesised_for is not None:
        a.add(a.synthesised_for, speech)
        a.last_speaker, a.synthesised_for = a.synthesised_for, None
        return
    ended = a.ended_pending(now)
    if ended and (a.timeline.realtime or x is None or x.is_over(now)) and _may_be_answered(a, ended):
        x = a.open_question(a.consecutive(ended), "", step, "voices_in_a_row")
    elif a.say_pending:
        x = open_scripted(a, step)
    elif not answer.goes_on_speaking(x, now) and answer.speaks_unasked(x, now):
        x = a.open(now, step.at)
        x.add_decision("speaks_unasked", step.at)
    assert x is not None
    a.add(x, speech)
    a.last_speaker = x


def _may_be_answered(a: Assembly, ended: list[Activity]) -> bool:
    """Whether the agent can have recognised a question in these voices."""
    return a.timeline.realtime or any(voice.at in a.transcribed for voice in ended) or not a.timeline.reports_interims


def agent_text(a: Assembly, step: Step) -> None:
    x = a.synthesised_for or a.current
    if a.last_llm_owner is not None and step.time - a.last_llm_end < question.STAND_IN_NS:
        a.add_text(a.last_llm_owner, step.text, step.at)  # text of the run that has just ended
        return
    speaker = a.last_speaker if a.timeline.framework in REPORTS_PLAYED_TEXT else None
    if speaker is not None and (a.synthesised_for in (None, speaker) or not speaker.texts):
        a.add_text(speaker, step.text, step.at)
        return
    if x is None or a.say_pending or (x.is_over(step.time) and x.texts and not x.question and x.cut is None):
        a.pending_text = step.text, step.at
    elif not (not x.parts and len(a.exchanges) > 1 and step.text in a.exchanges[-2].texts):  # a late repetition
        a.add_text(x, step.text, step.at)


def run_ended(a: Assembly, step: Step) -> None:
    run = step.activity
    assert run is not None
    a.last_llm_owner, a.last_llm_end = a.owners.get(run.at), step.time


def scripted_speech(a: Assembly, step: Step) -> None:
    """The next synthesis is scripted speech; while a tool runs, it is a filler of the current answer."""
    x = a.current
    a.say_pending = x is None or x.is_over(step.time) or not x.question or not answer.filler(x, step.time)
    if a.say_pending and step.text:
        a.pending_text = step.text, step.at


def tool_started(a: Assembly, step: Step) -> None:
    call = step.activity
    assert call is not None
    x = answer.caller_of_tool(a.exchanges, call, a.run_ids)
    if x is None and a.ended_pending(step.time):
        a.early.append(step)
        return
    x = x or a.current
    if x is None:
        x = a.open(step.time, step.at)
        x.add_decision("speaks_unasked", step.at)
    x.add_decision("caller_of_tool", step.at)
    a.add(x, call)


def run_started(a: Assembly, step: Step) -> None:
    """Assign a retrieval to the question being answered; keep STT and end-of-utterance runs for the pending voices."""
    run, x = step.activity, a.current
    assert run is not None
    if x is not None and not a.pending and not x.is_over(step.time):
        a.add(x, run)
    else:
        a.early.append(step)


def realtime_usage(a: Assembly, step: Step) -> None:
    run, x = step.activity, a.current
    assert run is not None
    if a.ended_pending(step.time) or x is None:
        a.early.append(step)
    else:
        a.add(x, run)


def belongs_to_current(a: Assembly, step: Step) -> None:
    part, x = step.activity, a.current
    assert part is not None
    if x is None or (x.is_over(step.time) and a.pending):
        a.early.append(step)
        if x is not None:
            a.fallback_owners[part.at] = x
    else:
        a.add(x, part)
