"""One turn as a picture: its response in parts, and the waterfall of what ran."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from xml.sax.saxutils import escape

from eventstore.control import CONTROL
from projections.caller import Reading
from turnlog.waterfall import Bar, turn_waterfall

WIDTH, LEFT, RIGHT, ROW = 860, 170, 110, 22
"""Pixels: of the picture, its margins with labels, and the height of a row."""
LABEL, TITLE = 26, 92
"""Maximum number of characters."""
TOKENS = (
    "background", "text", "muted", "line", "on-mark", "user", "agent", "vad", "stt", "eou", "kb", "llm", "tools", "tts",
    "playout", "realtime", "sound", "unaccounted", "error",
)  # fmt: skip
"""Colours of the viewer's style sheet that the picture has, each as a class."""
_PARTS = {
    "VAD hangover": "vad", "STT finalisation": "stt", "EOU inference": "eou", "EOU wait": "eou", "knowledge base": "kb",
    "tools": "tools", "LLM to first token": "llm", "LLM writing a tool call": "llm", "failed provider": "error",
    "text aggregation": "llm", "TTS to first byte": "tts", "playout": "playout", "realtime model": "realtime",
}  # fmt: skip
_BARS = {"STT": "stt", "EOU": "eou", "endpointing": "eou", "LLM": "llm", "TTS": "tts", "knowledge": "kb",
         "realtime": "realtime", "tool": "tools"}  # fmt: skip


def svg_file(r: Reading, number: int) -> bytes:
    """The picture of a turn, self-contained, in light or dark as the reader's browser prefers."""
    turn, bars = r.turn(number), turn_waterfall(r, number)
    begin = bars[0].start if bars else 0.0
    end = max((bar.end if bar.end is not None else bar.start for bar in bars), default=begin)
    scale = (WIDTH - LEFT - RIGHT) / max(end - begin, 1e-3)
    answered = f"{turn.e2e_latency:,.0f} ms" if turn.e2e_latency is not None else f"no response: {turn.no_response}"
    title = f"{r.session_name[:60]} · turn {number} · {answered}"
    legend = list(_legend(turn.response))
    top = 64 + ROW * (1 + (legend[-1][1] + 1 if legend else 0))
    height = top + ROW * len(bars) + 12
    body = [
        f'<rect class="background" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(16, 26, title, "text title"),
        _text(16, 46, _quotes(turn.user_speech, turn.agent_speech), "muted"),
        *_response(turn.response, begin, scale),
        *(line for x, row, part in legend for line in _entry(x, 64 + ROW * (row + 1), part)),
        *(line for n, bar in enumerate(bars) for line in _bar(bar, top + ROW * n, begin, scale)),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{_plain(title, TITLE)}">\n<title>{_plain(title, TITLE)}</title>\n'
        f"<style>{_style()}</style>\n"
    )
    return (head + "\n".join(body) + "\n</svg>\n").encode("utf-8", "replace")


def _style() -> str:
    sheet = (files("turnlog.viewer") / "static" / "site.css").read_text(encoding="utf-8")
    found = {name: re.findall(rf"--{name}: (#[0-9a-f]+);", sheet) for name in TOKENS}  # light, then dark

    def rules(scheme: int) -> str:
        return "".join(f".{name}{{fill:{colours[scheme]}}}" for name, colours in found.items())

    font = 'text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}.title{font-weight:600;font-size:14px}'
    return f"{font}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}"


def _response(response: dict[str, Any] | None, begin: float, scale: float) -> Iterator[str]:
    """The parts of the response as one bar, and its length."""
    if response is None:
        return
    y = 64
    yield _text(LEFT - 8, y + 13, "response", "text", "end")
    for part in response["parts"]:
        x, wide = LEFT + (part["start"] - begin) * scale, (part["end"] - part["start"]) * scale
        name = part["name"]
        yield _rect(x, y, wide, _PARTS.get(name, "unaccounted"), f"{name}: {part['ms']:,.0f} ms")
        if wide > 7 * len(name):
            yield _text(x + 4, y + 12, name, "on-mark")
    yield _text(LEFT + (response["end"] - begin) * scale + 6, y + 13, f"{response['ms']:,.0f} ms", "text")


def _legend(response: dict[str, Any] | None) -> Iterator[tuple[float, int, dict[str, Any]]]:
    """The parts of the response with the place of each: x, and number of its line."""
    x, row = float(LEFT), 0
    for part in (response or {"parts": []})["parts"]:
        wide = 30 + 6.6 * len(_entry_text(part))
        if x + wide > WIDTH - 8 and x > LEFT:
            x, row = float(LEFT), row + 1
        yield x, row, part
        x += wide


def _entry(x: float, y: int, part: dict[str, Any]) -> Iterator[str]:
    name = _PARTS.get(part["name"], "unaccounted")
    yield f'<rect class="{name}" x="{x:.1f}" y="{y + 4}" width="10" height="10" rx="1.5"/>'
    yield _text(x + 15, y + 13, _entry_text(part), "muted")


def _entry_text(part: dict[str, Any]) -> str:
    return f"{part['name']} {part['ms']:,.0f} ms"


def _class(bar: Bar) -> str:
    """The class of the component that the bar shows, or else of its kind."""
    kind = {"audio": "sound", "tool": "tools", "wait": "unaccounted"}.get(bar.kind, bar.kind)
    return next((name for start, name in _BARS.items() if bar.label.startswith(start)), kind)


def _bar(bar: Bar, y: int, begin: float, scale: float) -> Iterator[str]:
    end = bar.end if bar.end is not None else bar.start
    x, wide = LEFT + (bar.start - begin) * scale, (end - bar.start) * scale
    yield f'<path class="line" d="M{LEFT} {y - 3}h{WIDTH - LEFT - RIGHT}v1h-{WIDTH - LEFT - RIGHT}z"/>'
    yield _text(LEFT - 8, y + 13, bar.label[:LABEL], "text", "end")
    yield _rect(x, y, wide, _class(bar), bar.label)
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
