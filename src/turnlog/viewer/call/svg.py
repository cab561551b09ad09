"""One turn as a picture: its response in parts, and the waterfall of what ran."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

from eventstore.control import CONTROL
from projections.caller import Reading
from turnlog.waterfall import Bar, turn_waterfall

WIDTH, LEFT, RIGHT, ROW = 860, 170, 110, 22
"""Pixels: of the picture, its margins with labels, and the height of a row."""
LABEL, TITLE = 26, 92
"""Maximum number of characters."""
_LIGHT = {
    "ground": "#ffffff", "text": "#171b20", "muted": "#57606b", "line": "#d8dce1", "on": "#ffffff",
    "user": "#2563c4", "agent": "#0f7466", "wait": "#b0480f", "tool": "#8a3f6b", "audio": "#5d6b7a", "error": "#b42318",
    "vad": "#5d6b7a", "stt": "#7546b5", "eou": "#6a6f00", "kb": "#8d5f00", "llm": "#b0480f", "tts": "#3a7714",
    "playout": "#17707f", "realtime": "#a3297a", "rest": "#6e7681",
}  # fmt: skip
_DARK = {
    "ground": "#121417", "text": "#e8eaed", "muted": "#a0a8b2", "line": "#30353c", "on": "#0d1116",
    "user": "#7aaeff", "agent": "#4cc2ae", "wait": "#f0935c", "tool": "#df92bd", "audio": "#9aa6b3", "error": "#ff8a7e",
    "vad": "#9aa6b3", "stt": "#b99aef", "eou": "#c2c450", "kb": "#dba94a", "llm": "#f0935c", "tts": "#8ccb5e",
    "playout": "#5fbfd0", "realtime": "#ee86c8", "rest": "#8f98a3",
}  # fmt: skip
_PARTS = {
    "VAD hangover": "vad", "STT finalisation": "stt", "EOU inference": "eou", "EOU wait": "eou", "knowledge base": "kb",
    "tools": "tool", "LLM to first token": "llm", "LLM writing a tool call": "llm", "failed provider": "error",
    "text aggregation": "llm", "TTS to first byte": "tts", "playout": "playout", "realtime model": "realtime",
}  # fmt: skip


def svg_file(r: Reading, number: int) -> bytes:
    """The picture of a turn, self-contained, in light or dark as the reader's browser prefers."""
    turn, bars = r.turn(number), turn_waterfall(r, number)
    begin = bars[0].start if bars else 0.0
    end = max((bar.end if bar.end is not None else bar.start for bar in bars), default=begin)
    scale = (WIDTH - LEFT - RIGHT) / max(end - begin, 1e-3)
    answered = f"{turn.e2e_latency:,.0f} ms" if turn.e2e_latency is not None else f"no response: {turn.no_response}"
    title = f"{r.session_name[:60]} · turn {number} · {answered}"
    height = 64 + ROW * (len(bars) + 1) + 12
    body = [
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(16, 26, title, "title"),
        _text(16, 46, _quotes(turn.user_speech, turn.agent_speech), "muted"),
        *_response(turn.response, begin, scale),
        *(line for n, bar in enumerate(bars) for line in _bar(bar, 64 + ROW * (n + 1), begin, scale)),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{_plain(title, TITLE)}">\n<title>{_plain(title, TITLE)}</title>\n'
        f"<style>{_style()}</style>\n"
    )
    return (head + "\n".join(body) + "\n</svg>\n").encode("utf-8", "replace")


def _style() -> str:
    def rules(colours: dict[str, str]) -> str:
        return "".join(f".{name}{{fill:{colour}}}" for name, colour in colours.items())

    font = 'text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}'
    return (
        f"{font}.title{{font-weight:600;font-size:14px}}{rules(_LIGHT)}.title{{fill:{_LIGHT['text']}}}"
        f"@media(prefers-color-scheme:dark){{{rules(_DARK)}.title{{fill:{_DARK['text']}}}}}"
    )


def _response(response: dict[str, Any] | None, begin: float, scale: float) -> Iterator[str]:
    """The parts of the response as one bar, and its length."""
    if response is None:
        return
    y = 64
    yield _text(LEFT - 8, y + 13, "response", "text", "end")
    for part in response["parts"]:
        x, wide = LEFT + (part["start"] - begin) * scale, (part["end"] - part["start"]) * scale
        name = part["name"]
        yield _rect(x, y, wide, _PARTS.get(name, "rest"), f"{name}: {part['ms']:,.0f} ms")
        if wide > 7 * len(name):
            yield _text(x + 4, y + 12, name, "on")
    yield _text(LEFT + (response["end"] - begin) * scale + 6, y + 13, f"{response['ms']:,.0f} ms", "text")


def _bar(bar: Bar, y: int, begin: float, scale: float) -> Iterator[str]:
    end = bar.end if bar.end is not None else bar.start
    x, wide = LEFT + (bar.start - begin) * scale, (end - bar.start) * scale
    yield f'<path class="line" d="M{LEFT} {y - 3}h{WIDTH - LEFT - RIGHT}v1h-{WIDTH - LEFT - RIGHT}z"/>'
    yield _text(LEFT - 8, y + 13, bar.label[:LABEL], "text", "end")
    yield _rect(x, y, wide, bar.kind, bar.label)
    detail = bar.detail + (" (cut)" if bar.cut else "")
    if x + wide + 6 + 7 * len(detail) < WIDTH:
        yield _text(x + wide + 6, y + 13, detail, "muted")
    else:
        yield _text(x - 6, y + 13, detail, "muted", "end")


def _rect(x: float, y: float, wide: float, name: str, title: str) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y}" width="{max(wide, 1.5):.1f}" height="{ROW - 6}" rx="1.5">'
        f"<title>{_plain(title, TITLE)}</title></rect>"
    )


def _text(x: float, y: float, text: str, name: str, anchor: str = "start") -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{_plain(text, TITLE + 40)}</text>'


def _quotes(user: str | None, agent: str | None) -> str:
    return " → ".join(f"“{_short(text)}”" for text in (user, agent) if text)


def _short(text: str) -> str:
    return text if len(text) <= TITLE // 2 else text[: TITLE // 2 - 1] + "…"


def _plain(text: str, length: int) -> str:
    """The text for XML: escaped, without control characters, of limited length."""
    return escape(CONTROL.sub("�", text)[:length], {'"': "&quot;"})
