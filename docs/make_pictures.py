"""The pictures of the documentation: what the program prints about the demo call, as SVG. Run `make pictures`.

Each picture is the output of a command, coloured as on a terminal. A test compares their text with what is printed now.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "pictures"
DEMO = HERE.parent / "fixtures" / "demo.jsonl.gz"
WIDTH = 92
PICTURES = {
    "replay.svg": "turnlog replay barge_in_vad --turn 2",
    "explain.svg": "turnlog explain barge_in_vad turn 2",
}
"""By file: the command whose output it shows."""
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
        font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: ui-monospace, monospace; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
"""Rich's own frame, without a font that a browser would have to load from elsewhere."""


def printed() -> dict[str, str]:
    """What each command prints about the demo call, with its colours, by the picture's file."""
    with tempfile.TemporaryDirectory() as folder:
        clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TURNLOG_MASTER_KEY")}
        own = {"TURNLOG_DB": f"{folder}/calls.db", "COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color"}

        def run(*arguments: str) -> str:
            command = [sys.executable, "-m", "turnlog", *arguments]
            return subprocess.run(command, env=clean | own, capture_output=True, text=True, check=True).stdout

        run("import", str(DEMO))
        return {file: run(*command.split()[1:]) for file, command in PICTURES.items()}


def text_of(output: str) -> Text:
    return Text.from_ansi(output.strip("\n"))


def picture(file: str, output: str) -> str:
    """The output as SVG, under the command that prints it."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(text_of(output), no_wrap=True, crop=True)
        name = file.removesuffix(".svg")
        svg = console.export_svg(title=f"$ {PICTURES[file]}", theme=MONOKAI, code_format=FRAME, unique_id=name)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, output in printed().items():
        (FOLDER / file).write_text(picture(file, output))
