"""Activities into exchanges: by cause, and not by which turn the framework had open.

A fold over the timeline's steps, in the order of time. A voice waits in ``pending`` until it is known what it was: part
of a question, or of none. Work whose question is not known yet waits in ``ahead``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import msgspec

from projections.timeline import Activity, Step, Timeline
from projections.turns import answer, barge_in, question
from projections.turns.exchange import Exchange


class Left(msgspec.Struct, frozen=True):
    """An activity that is no turn's, and why."""

    activity: Activity
    reason: str


class Assembly(msgspec.Struct):
    """The exchanges of one session, and, below, where the fold stands."""

    timeline: Timeline
    exchanges: list[Exchange] = []
    left: list[Left] = []
    current: Exchange | None = None
    pending: list[Activity] = []
    ahead: list[Activity] = []
    into: dict[int, Exchange] = {}
    """By a voice's ``at``: the exchange into whose answer, or before it, it was said."""
    worded: set[int] = set()
    """Voices of which words were reported by now, final ones or such as the model may start on."""
    heard_of: set[int] = set()
    """Voices of which STT has understood something by now."""
    cutting: set[int] = set()
    """Voices for which something was cancelled."""
    homes: dict[int, Exchange] = {}
    """By an activity's ``at``: its exchange."""
    fed_by: Exchange | None = None
    """Whose synthesis is to be heard next."""
    writer: Exchange | None = None
    """Whose LLM run ended last, and when."""
    wrote: int = 0
    said: bool = False
    """The agent was made to say something of its own accord."""
    text: tuple[str, int] | None = None
    """What it will say, before there is anything it belongs to."""
    finals: list[tuple[int, str, Activity | None]] = []
    """The last final words: when they came, what they are, and the voice they are of."""
    understood: int = -1
    """The last event by which STT understood the user with no voice pending."""

    def open(self, now: int, at: int) -> Exchange:
        x = Exchange(now, at)
        self.exchanges.append(x)
        self.current = x
        self.said = False
        if self.text is not None:
            self._say(x, *self.text)
            self.text = None
        return x

    def add(self, x: Exchange, activity: Activity) -> None:
        x.parts.append(activity)
        self.homes[activity.at] = x

    def _say(self, x: Exchange, text: str, at: int) -> None:
        """A report of the whole answer so far replaces those of its beginnings."""
        if x.texts and text.startswith(x.texts[-1]):
            x.texts[-1] = text
        elif not x.texts or text not in x.texts[-1]:
            x.texts.append(text)
        x.texts_at.append(at)

    # questions -------------------------------------------------------------------------------------------------

    def ask(self, voices: list[Activity], words: str, step: Step, decision: str) -> Exchange:
        """A new question: the ``voices``, with their ``words``, and what was begun for them ahead."""
        before = self.current
        if before is not None and not before.heard and before.cut is None and before.question:
            before.superseded = any(self.into.get(v.at) is before for v in voices) or (
                not voices and before.busy(step.time)
            )
        self.drop(voices, step)
        x = self.open(min([step.time, *(v.start for v in voices if v.start is not None)]), step.at)
        x.because(decision, step.at)
        self.give(x, voices, words, step)
        return x

    def give(self, x: Exchange, voices: list[Activity], words: str, step: Step) -> None:
        """The voices and words are the exchange's, from now on its question is with the model."""
        x.voices.extend(voices)
        for voice in voices:
            self.homes[voice.at] = x
        if words:
            x.words = words
            x.words_at.append(step.at)
        elif not x.words:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
        if x.asked is None:
            x.asked = step.time
        self.pending = [voice for voice in self.pending if voice not in voices]
        own = {voice.at for voice in x.voices}
        ahead, self.ahead = self.ahead, []
        for part in ahead:
            if part.kind == "stt" and part.data.get("voice") not in own:
                self.ahead.append(part)
            else:
                self.add(x, part)

    def drop(self, voices: list[Activity], step: Step) -> None:
        """The pending voices before those: questions nobody answered, or no questions at all."""
        last = max((v.start or 0 for v in voices), default=0)
        old = step.time - question.RECENT_NS
        rest = [
            v
            for v in self.pending
            if v not in voices and ((v.start or 0) < last or (v.end is not None and v.end < old))
        ]
        self.pending = [v for v in self.pending if v not in rest]
        asked: list[Activity] = []
        for voice in rest:
            cut, x = voice.at in self.cutting, self.into.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=cut, into_answer=x is not None)
            if reason:
                self.left.append(Left(voice, reason))
            else:
                asked.append(voice)
        if asked:
            start = asked[0].start
            x = self.open(step.time if start is None else start, step.at)
            x.because("of_no_question", step.at)
            x.voices, x.words = asked, " ".join(filter(None, map(question.words_of, asked)))
            for voice in asked:
                self.homes[voice.at] = x
            x.closed = True

    def ended_pending(self, now: int) -> list[Activity]:
        return [v for v in self.pending if v.end is not None and v.data.get("reported", v.end) <= now]

    def in_a_row(self, pending: list[Activity]) -> list[Activity]:
        return question.voices_in_a_row(pending, interims=self.timeline.hears_interims)


def assemble(t: Timeline) -> Assembly:
    """The timeline's activities as exchanges, in the order in which they were opened."""
    a = Assembly(t)
    for step in sorted(t.steps, key=itemgetter(0, 1)):
        handler = STEPS.get(step.what)
        if handler is not None:
            handler(a, step)
    _finish(a)
    a.exchanges.sort(key=lambda x: (x.opened, x.at))
    return a


# the user --------------------------------------------------------------------------------------------------------


def _voice_started(a: Assembly, step: Step) -> None:
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


def _worded(a: Assembly, step: Step) -> None:
    voice = step.activity
    if step.what == "final":
        a.finals.append((step.time, step.text, voice))
        del a.finals[:-8]
    if voice is not None:
        a.worded.add(voice.at)
        x = a.homes.get(voice.at)
        if x is not None and x is a.current and x.cut is not None and x.cut_by is None and step.what == "final":
            _reopen(x)  # the framework had cancelled a run that it began too early
        if x is not None and not x.words_at:
            x.words = " ".join(filter(None, map(question.words_of, x.voices)))
    _understood(a, step)


def _understood(a: Assembly, step: Step) -> None:
    voice = step.activity
    if voice is not None:
        a.heard_of.add(voice.at)
    if voice is None or (not a.pending and voice.at not in a.homes):
        a.understood = step.time


def _words(a: Assembly, step: Step) -> None:
    """The framework hands the question's words to the model."""
    x, words = a.current, step.text
    pending = [voice for voice in a.pending if (voice.start or 0) <= step.time]
    if a.timeline.realtime and (late := question.late_words(a.exchanges, step.time)) is not None:
        late.words = words
        late.words_at.append(step.at)
        late.because("late_words", step.at)
        return
    if question.same_question(x, pending, words, step.time):
        assert x is not None
        x.because("same_question", step.at)
        _reopen(x)
        a.give(x, [], words, step)
        return
    heard = a.timeline.hears_interims
    voices = question.voices_of_words(pending, words, step.time, worded=a.worded, interims=heard)
    voices = question.with_the_cut(voices, pending, a.cutting)
    if question.continues_question(x, words):
        assert x is not None
        x.because("continues_question", step.at)
        _reopen(x)
        a.drop(voices, step) if voices else None
        a.give(x, voices, words, step)
        return
    typed = question.missed_by_detector(voices)
    x = a.ask(voices, words, step, "missed_by_detector" if typed else "voices_of_words")
    x.typed = typed
    if typed:
        x.came = question.end_of_missed(a.finals, words, step.time)


def _reopen(x: Exchange) -> None:
    """What was cancelled of it, it was to be asked again."""
    x.cut = x.cut_by = None
    x.cut_by_words = x.closed = x.superseded = False


# the answer ------------------------------------------------------------------------------------------------------


def _llm_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    worded = [voice for voice in a.pending if voice.at in a.worded]
    heard = [voice for voice in a.pending if voice.at in a.heard_of]
    silent = heard if a.timeline.hears_interims else a.ended_pending(now)
    if x is not None and x.cut is None and answer.run_is_due(x):
        x.because("run_is_due", step.at)
    elif x is not None and not x.over(now) and not (worded and (x.heard or x.words_at)):
        if worded and not answer.follows_a_tool(x, now):
            a.give(x, a.in_a_row(worded), "", step)
    elif x is not None and answer.follows_a_tool(x, now) and x.cut is None:
        x.because("follows_a_tool", step.at)
    elif worded or silent:
        x = a.ask(a.in_a_row(worded or silent), "", step, "voices_in_a_row")
    elif x is None or x.over(now):
        x = a.open(now, step.at)
        x.because("speaks_unasked", step.at)
    a.add(x, run)


def _tts_started(a: Assembly, step: Step) -> None:
    run, x, now = step.activity, a.current, step.time
    assert run is not None
    ended = a.ended_pending(now)
    if a.said:
        x = _say_something(a, step)
    elif ended and (x is None or x.over(now)) and (a.timeline.realtime or all(v.at in a.worded for v in ended)):
        x = a.ask(a.in_a_row(ended), "", step, "voices_in_a_row")
    elif answer.speaks_unasked(x, now):
        x = a.open(now, step.at)
        x.because("speaks_unasked", step.at)
    assert x is not None
    a.add(x, run)
    a.fed_by = x


def _say_something(a: Assembly, step: Step) -> Exchange:
    """A turn of its own; a question that is being answered meanwhile goes on."""
    going_on = a.current
    x = a.open(step.time, step.at)
    x.because("speaks_unasked", step.at)
    if going_on is not None and going_on.question and not going_on.over(step.time):
        a.current = going_on
    return x


def _agent_started(a: Assembly, step: Step) -> None:
    speech, x, now = step.activity, a.current, step.time
    assert speech is not None
    ended = a.ended_pending(now)
    if a.fed_by is not None:
        x = a.fed_by
    elif ended and (a.timeline.realtime or x is None or x.over(now)) and _answers(a, ended):
        x = a.ask(a.in_a_row(ended), "", step, "voices_in_a_row")
    elif a.said:
        x = _say_something(a, step)
    elif not answer.goes_on_speaking(x, now) and answer.speaks_unasked(x, now):
        x = a.open(now, step.at)
        x.because("speaks_unasked", step.at)
    assert x is not None
    a.add(x, speech)
    a.fed_by = None


def _answers(a: Assembly, ended: list[Activity]) -> bool:
    """Whether the agent can have understood a question in these voices."""
    return a.timeline.realtime or any(voice.at in a.worded for voice in ended) or not a.timeline.hears_interims


def _agent_text(a: Assembly, step: Step) -> None:
    x = a.fed_by or a.current
    if a.writer is not None and step.time - a.wrote < question.STAND_IN_NS:
        a._say(a.writer, step.text, step.at)  # the framework reports the text of the run that has just ended
        return
    if x is None or a.said or (x.over(step.time) and x.texts and not x.question and x.cut is None):
        a.text = step.text, step.at
    elif not (not x.parts and len(a.exchanges) > 1 and step.text in a.exchanges[-2].texts):  # a report repeated late
        a._say(x, step.text, step.at)


def _run_ended(a: Assembly, step: Step) -> None:
    run = step.activity
    assert run is not None
    a.writer, a.wrote = a.homes.get(run.at), step.time


def _said(a: Assembly, step: Step) -> None:
    """The next synthesis is of words that were put into the agent's mouth; a filler, while a tool works."""
    x = a.current
    a.said = x is None or x.over(step.time) or not x.question or not answer.filler(x, step.time)
    if a.said and step.text:
        a.text = step.text, step.at


def _tool_started(a: Assembly, step: Step) -> None:
    call = step.activity
    assert call is not None
    x = answer.caller_of_tool(a.exchanges, call, a.homes)
    if x is None and a.ended_pending(step.time):
        a.ahead.append(call)
        return
    x = x or a.current
    if x is None:
        x = a.open(step.time, step.at)
        x.because("speaks_unasked", step.at)
    x.because("caller_of_tool", step.at)
    a.add(x, call)


def _run_started(a: Assembly, step: Step) -> None:
    """STT and end-of-utterance runs are of the voices that wait; retrieval is of the question being answered."""
    run, x = step.activity, a.current
    assert run is not None
    if x is not None and not a.pending and not x.over(step.time):
        a.add(x, run)
    else:
        a.ahead.append(run)


def _realtime_usage(a: Assembly, step: Step) -> None:
    run, x = step.activity, a.current
    assert run is not None
    if a.ended_pending(step.time) or x is None:
        a.ahead.append(run)
    else:
        a.add(x, run)


def _belongs_to_now(a: Assembly, step: Step) -> None:
    part, x = step.activity, a.current
    assert part is not None
    if x is None or (x.over(step.time) and a.pending):
        a.ahead.append(part)
    else:
        a.add(x, part)


# interruptions, marks, the end -----------------------------------------------------------------------------------


def _interrupted(a: Assembly, step: Step) -> None:
    cut, x = step.activity, a.current
    assert cut is not None
    voice = barge_in.voice_behind(a.pending, step.time)
    spoken = a.fed_by if a.fed_by is not None else x
    if x is not None:
        a.add(x, cut)
    else:
        a.left.append(Left(cut, "there was nothing that it could interrupt"))
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


def _agent_ended(a: Assembly, step: Step) -> None:
    speech = step.activity
    assert speech is not None
    x = a.homes.get(speech.at)
    voice = barge_in.ended_under(a.pending, speech, step.time) if a.timeline.realtime and x is not None else None
    if x is not None and voice is not None and x.cut is None:
        x.cut_by_voice = True
        x.because("ended_under", step.at)
        a.cutting.add(voice.at)
        a.into.pop(voice.at, None)


def _turn_closed(a: Assembly, step: Step) -> None:
    """Evidence only between what the agent says of its own accord."""
    x = a.current
    if x is not None and not x.question and x.heard and not x.busy(step.time):
        x.closed = True


def _handed_off(a: Assembly, step: Step) -> None:
    if a.current is not None:
        a.current.handed_off = True


def _session_ended(a: Assembly, step: Step) -> None:
    x = a.current
    if x is not None and not x.over(step.time):
        x.hung_up = True


def _finish(a: Assembly) -> None:
    """What is still waiting at the end: words nobody answered are a question; the rest is no turn's."""
    t = a.timeline
    asked = [v for v in a.pending if _asks(a, v)]
    for voice in a.pending:
        if voice not in asked:
            x = a.into.get(voice.at)
            reason = barge_in.of_no_question(voice, cut=False, into_answer=x is not None)
            a.left.append(Left(voice, reason or "no words were understood of it"))
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
    for part in a.ahead:
        home = a.homes.get(part.data.get("voice", -1))
        last = a.exchanges[-1] if a.exchanges else None
        if home is not None:
            a.add(home, part)
        elif part.kind == "stt" or (part.kind in ("eou", "eou_wait") and not asked):
            a.left.append(Left(part, "it heard nothing that was answered"))
        elif last is None:
            a.left.append(Left(part, "there was no turn that it could belong to"))
        else:
            a.add(last, part)
    a.ahead = []


def _asks(a: Assembly, voice: Activity) -> bool:
    """Whether a voice that nothing came after is a question: it was understood, cut the agent off, or goes on."""
    if voice.at in a.cutting:
        return True
    if a.into.get(voice.at) is not None:
        return False
    if voice.data.get("understood"):
        return True
    return not a.timeline.hears_interims and not a.worded


STEPS: dict[str, Callable[[Assembly, Step], None]] = {
    "voice started": _voice_started,
    "interim": _understood,
    "preflight": _worded,
    "final": _worded,
    "words": _words,
    "llm started": _llm_started,
    "tts started": _tts_started,
    "agent started": _agent_started,
    "agent text": _agent_text,
    "say": _said,
    "tool started": _tool_started,
    "run started": _run_started,
    "run ended": _run_ended,
    "realtime usage": _realtime_usage,
    "interrupted": _interrupted,
    "doubted": _belongs_to_now,
    "error": _belongs_to_now,
    "fallback": _belongs_to_now,
    "sound": _belongs_to_now,
    "hold": _belongs_to_now,
    "log": _belongs_to_now,
    "agent ended": _agent_ended,
    "turn closed": _turn_closed,
    "hand-off": _handed_off,
    "session ended": _session_ended,
}
