"""Renders a call as the caller experienced it: response times and their parts, then a waterfall of each turn."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.text import Text

from eventstore.integrity.gaps import Gap
from eventstore.stores.encrypted import MASTER_KEY
from projections.caller import Reading, is_interrupted
from projections.outputs.turn import Turn
from projections.readings import VIDEOSDK
from projections.turns.question import words_of
from turnlog.cli.render.barge_in import Entry, entries, sentence
from turnlog.cli.render.drawing import show_bars, show_gaps, show_logs
from turnlog.terminal import in_line, plural
from turnlog.waterfall import turn_waterfall

SHORT = {"STT finalisation": "STT", "EOU inference": "EOU", "LLM to first token": "LLM"}
"""Short names for parts of the response."""
KINDS = {"stt": "STT", "eou": "EOU", "eou_wait": "EOU wait", "llm": "LLM", "tts": "TTS", "knowledge_base": "retrieval"}
SHOWN_MS = 1.0
"""Shorter parts and differences are hidden."""
INDENT = 6
"""Width of the turn label, in columns."""


def show_reading(
    console: Console, r: Reading, only: int | None = None, *, all_logs: bool = False, missing: Sequence[Gap] = ()
) -> None:
    """Print each turn's response time and barge-ins, then a waterfall of each turn with its log lines.

    ``only`` selects one turn, counted from 1. ``missing`` are the gaps in the log.
    """
    ledger: dict[int | None, list[Entry]] = {}
    for entry in entries(r):
        ledger.setdefault(entry.turn, []).append(entry)
    turns = r.turns if only is None else [r.turn(only)]
    _line(console, _summary(r))
    show_gaps(console, missing)
    if sealed := r.timeline.sealed:
        _line(
            console, Text(f"the text of {plural(sealed, 'event')} is sealed (set {MASTER_KEY}) or forgotten", "yellow")
        )
    if only is None and (heading := _wait_summary(r.turns)):
        _line(console, Text(heading, "bold"))
    for turn in turns:
        _show_answer(console, r, turn, ledger.get(turn.turn, []))
    for turn in turns:
        _show_turn(console, r, turn, r.logs_of(turn.turn), all_logs)
    if only is None:
        _show_rest(console, r, ledger.get(None, []))
        if logs := [line for line in r.logs if line.turn is None]:
            console.print()
            _line(console, Text(f"{plural(len(logs), 'log line')} outside of any turn", "bold"))
            show_logs(console, logs, r.timeline.began / 1e9, all_logs)


def _line(console: Console, text: Text) -> None:
    """Print one line, truncated to the console's width."""
    text.truncate(console.width, overflow="ellipsis")
    console.print(text, no_wrap=True)


def _summary(r: Reading) -> Text:
    text = Text(in_line(r.session_name), "bold")
    answered = sum(response is not None for response in r.responses)
    counts = [plural(r.events, "event"), plural(len(r.exchanges), "turn"), f"{answered} answered"]
    cut = sum(is_interrupted(r.barge_ins_of(x)) for x in r.exchanges)
    counts += [f"{cut} interrupted"] if cut else []
    text.append(f"  {', '.join(counts)}", "not bold")
    text.append(f"  rules {r.rules}", "not bold dim")
    return text


def parts_of(turn: Turn) -> list[tuple[str, float]]:
    """The parts of the response time in ms, longest first, summed by name; none below `SHOWN_MS`."""
    waits: dict[str, float] = {}
    for part in (turn.response or {}).get("parts", ()):
        waits[part["name"]] = waits.get(part["name"], 0.0) + part["ms"]
    found = [(SHORT.get(name, name), ms) for name, ms in waits.items() if ms >= SHOWN_MS]
    return sorted(found, key=lambda wait: -wait[1])


def _wait_summary(turns: list[Turn]) -> str:
    """The median and worst response time over all turns, and their largest parts; empty without a response."""
    answered = [turn for turn in turns if turn.response is not None]
    if not answered:
        return ""
    total: dict[str, float] = {}
    for turn in answered:
        for name, ms in parts_of(turn):
            total[name] = total.get(name, 0.0) + ms
    waits = [turn.e2e_latency or 0.0 for turn in answered]
    what = " and ".join(sorted(total, key=lambda name: -total[name])[:2])
    most = f", most of it for {what}" if what else ""
    return f"waited {median(waits):,.0f} ms (median), {max(waits):,.0f} ms at worst{most}"


def _show_answer(console: Console, r: Reading, turn: Turn, ledger: list[Entry]) -> None:
    """Print the response time and its parts, the transcripts, and the barge-ins."""
    text = Text()
    if turn.e2e_latency is None:
        text.append(f"no response: {turn.no_response}", "yellow")
    else:
        text.append(f"{turn.e2e_latency:,.0f} ms", "bold")
        text.append("  " + ", ".join(f"{name} {ms:,.0f}" for name, ms in parts_of(turn)))
        if (later := (turn.response or {}).get("time_to_answer_ms")) is not None:
            text.append(f"; time to answer {later:,.0f} ms")
    if turn.interrupted:
        text.append("  interrupted", "red")
    if theirs := _framework_figure(r, turn):
        text.append(f"  ({theirs})", "dim")
    name = f"turn {turn.turn}"
    quotes = _quotes(turn, max(20, console.width - max(len(name), INDENT) - 2))
    if len(name) + 2 + text.cell_len + 2 + len(quotes) <= console.width:
        text.append(f"  {quotes}")
        quotes = ""
    body = [text, *([Text(quotes, no_wrap=True, overflow="ellipsis")] if quotes else []), *map(_barge_in_line, ledger)]
    indent = max(INDENT, len(name)) + 1
    for number, line in enumerate(body):
        for part, piece in enumerate(line.wrap(console, max(20, console.width - indent))):
            margin = (name if number == part == 0 else "").ljust(indent)
            console.print(Text(margin, "bold") + piece, no_wrap=True, overflow="ellipsis")


def _framework_figure(r: Reading, turn: Turn) -> str:
    """The framework's own response time, if it differs from ours."""
    theirs, ours = turn.framework_e2e, turn.e2e_latency
    if theirs is None or (ours is not None and abs(theirs - ours) <= SHOWN_MS):
        return ""
    return f"{r.timeline.framework or VIDEOSDK} reports {theirs:,.0f} ms"


def _quotes(turn: Turn, width: int) -> str:
    user, agent = (" ".join(in_line(text or "").split()) for text in (turn.user_speech, turn.agent_speech))
    both = width - 7
    if len(user) + len(agent) > both:  # a text shorter than half of the width is not truncated
        half = both // 2
        user, agent = _truncate(user, max(half, both - len(agent))), _truncate(agent, max(half, both - len(user)))
    return " → ".join(f"“{text}”" for text in (user, agent) if text) if user else (f"→ “{agent}”" if agent else "")


def _truncate(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _barge_in_line(entry: Entry) -> Text:
    return Text(in_line(f"+{entry.into_call:,.1f} s: {sentence(entry)}"), "red")


def _show_turn(console: Console, r: Reading, turn: Turn, lines: list[Any], all_logs: bool) -> None:
    """Print the turn's waterfall, if it has any bars, and its log lines."""
    bars = turn_waterfall(r, turn.turn)
    if not bars:
        show_logs(console, lines, r.timeline.began / 1e9, all_logs)
        return
    begin = bars[0].start
    end = max(bar.end if bar.end is not None else bar.start for bar in bars)
    console.print()
    _line(console, Text(f"turn {turn.turn}", "bold").append(f"  {end - begin:.2f} s", "not bold"))
    show_bars(console, bars, begin, end)
    show_logs(console, lines, begin + r.timeline.began / 1e9, all_logs)


def _show_rest(console: Console, r: Reading, outside: list[Entry]) -> None:
    """Print what belongs to no turn, with the reasons, and why the session ended."""
    t, found = r.timeline, dict[tuple[str, str], list[str]]()
    for left in r.assembly.unassigned:
        words = words_of(left.activity) if left.activity.kind == "voice" else str(left.activity.data.get("message", ""))
        start = left.activity.start
        when = "" if start is None else f"+{(start - t.began) / 1e9:,.1f} s"
        what = f"{when} “{_truncate(in_line(words), 24)}”" if words else when
        kind = KINDS.get(left.activity.kind, left.activity.kind)
        if kind != "log":
            found.setdefault((kind, left.reason), []).append(what)
    for _at, reason in t.ignored:
        found.setdefault(("event", reason), []).append("")
    if found or outside:
        console.print()
        _line(console, Text("outside of any turn", "bold"))
    for (kind, reason), each in found.items():
        times = ", ".join(filter(None, each[:3])) + (f" and {len(each) - 3} more" if len(each) > 3 else "")
        times_seen = f"{len(each)} × " if len(each) > 1 else ""
        console.print(Text(f"{times_seen}{' '.join(filter(None, (kind, times)))}: {reason}", "dim"))
    for entry in outside:
        console.print(_barge_in_line(entry))
    if t.end_reason:
        console.print(Text(f"the session ended: {in_line(t.end_reason)}"))
