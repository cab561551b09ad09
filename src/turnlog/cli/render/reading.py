"""The caller's reading of a call on the terminal: what the caller waited and for what, then what ran when."""

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
"""What a part of the response is called in a line."""
KINDS = {"stt": "STT", "eou": "EOU", "eou_wait": "EOU wait", "llm": "LLM", "tts": "TTS", "knowledge_base": "retrieval"}
SHOWN_MS = 1.0
"""What is shorter is not shown."""
INDENT = 6
"""Columns for the name of a turn."""


def show_reading(
    console: Console, r: Reading, only: int | None = None, *, all_logs: bool = False, missing: Sequence[Gap] = ()
) -> None:
    """What the caller waited, by turn, with barge-ins; then a waterfall of each turn with its log lines.

    ``only`` picks one turn, counted from 1. ``missing`` are the calls that the log does not have.
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
    if only is None and (heading := _waited(r.turns)):
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
    """Print one line, cut at the console's width."""
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
    """What was waited for, in ms, the longest first; parts of one name together, none below `SHOWN_MS`."""
    waits: dict[str, float] = {}
    for part in (turn.response or {}).get("parts", ()):
        waits[part["name"]] = waits.get(part["name"], 0.0) + part["ms"]
    found = [(SHORT.get(name, name), ms) for name, ms in waits.items() if ms >= SHOWN_MS]
    return sorted(found, key=lambda wait: -wait[1])


def _waited(turns: list[Turn]) -> str:
    """What the callers of all turns waited, and most of all for what."""
    waited = [turn for turn in turns if turn.response is not None]
    if not waited:
        return ""
    total: dict[str, float] = {}
    for turn in waited:
        for name, ms in parts_of(turn):
            total[name] = total.get(name, 0.0) + ms
    waits = [turn.e2e_latency or 0.0 for turn in waited]
    what = " and ".join(sorted(total, key=lambda name: -total[name])[:2])
    most = f", most of it for {what}" if what else ""
    return f"waited {median(waits):,.0f} ms (median), {max(waits):,.0f} ms at worst{most}"


def _show_answer(console: Console, r: Reading, turn: Turn, ledger: list[Entry]) -> None:
    """The response and its parts, what was said, and the barge-ins."""
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
    if theirs := _framework(r, turn):
        text.append(f"  ({theirs})", "dim")
    name = f"turn {turn.turn}"
    quotes = _quotes(turn, max(20, console.width - max(len(name), INDENT) - 2))
    if len(name) + 2 + text.cell_len + 2 + len(quotes) <= console.width:
        text.append(f"  {quotes}")
        quotes = ""
    body = [text, *([Text(quotes, no_wrap=True, overflow="ellipsis")] if quotes else []), *map(_barge_in, ledger)]
    indent = max(INDENT, len(name)) + 1
    for number, line in enumerate(body):
        for part, piece in enumerate(line.wrap(console, max(20, console.width - indent))):
            margin = (name if number == part == 0 else "").ljust(indent)
            console.print(Text(margin, "bold") + piece, no_wrap=True, overflow="ellipsis")


def _framework(r: Reading, turn: Turn) -> str:
    """The framework's own figure, where it differs."""
    theirs, ours = turn.framework_e2e, turn.e2e_latency
    if theirs is None or (ours is not None and abs(theirs - ours) <= SHOWN_MS):
        return ""
    return f"{r.timeline.framework or VIDEOSDK} reports {theirs:,.0f} ms"


def _quotes(turn: Turn, width: int) -> str:
    asked, said = (" ".join(in_line(text or "").split()) for text in (turn.user_speech, turn.agent_speech))
    both = width - 7
    if len(asked) + len(said) > both:  # one that is shorter than half of the room stays whole
        half = both // 2
        asked, said = _cut(asked, max(half, both - len(said))), _cut(said, max(half, both - len(asked)))
    return " → ".join(f"“{text}”" for text in (asked, said) if text) if asked else (f"→ “{said}”" if said else "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _barge_in(entry: Entry) -> Text:
    return Text(in_line(f"+{entry.into_call:,.1f} s: {sentence(entry)}"), "red")


def _show_turn(console: Console, r: Reading, turn: Turn, lines: list[Any], all_logs: bool) -> None:
    """The waterfall; nothing of a turn in which nothing was timed but its log lines."""
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


def _show_rest(console: Console, r: Reading, homeless: list[Entry]) -> None:
    """What belongs to no turn, with the reasons, and why the session ended."""
    t, found = r.timeline, dict[tuple[str, str], list[str]]()
    for left in r.assembly.unassigned:
        said = words_of(left.activity) if left.activity.kind == "voice" else str(left.activity.data.get("message", ""))
        start = left.activity.start
        when = "" if start is None else f"+{(start - t.began) / 1e9:,.1f} s"
        what = f"{when} “{_cut(in_line(said), 24)}”" if said else when
        kind = KINDS.get(left.activity.kind, left.activity.kind)
        if kind != "log":
            found.setdefault((kind, left.reason), []).append(what)
    for _at, reason in t.ignored:
        found.setdefault(("event", reason), []).append("")
    if found or homeless:
        console.print()
        _line(console, Text("outside of any turn", "bold"))
    for (kind, reason), each in found.items():
        times = ", ".join(filter(None, each[:3])) + (f" and {len(each) - 3} more" if len(each) > 3 else "")
        many = f"{len(each)} × " if len(each) > 1 else ""
        console.print(Text(f"{many}{' '.join(filter(None, (kind, times)))}: {reason}", "dim"))
    for entry in homeless:
        console.print(_barge_in(entry))
    if t.end_reason:
        console.print(Text(f"the session ended: {in_line(t.end_reason)}"))
