"""The code blocks of a Markdown page, and running a page's blocks as a reader does: in order, in one shell."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
SHOWN = ("text", "json")
"""Languages of output; blocks in any other are code, and run."""
_BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
CHECK = TOP / "tests" / "support" / "check_command.py"
SHELL = """set -eu
turnlog() { "$PYTHON" -m turnlog "$@"; }
pip() { "$PYTHON" "$CHECK" pip "$@"; }
make() { "$PYTHON" "$CHECK" make "$@"; }
python() { "$PYTHON" "$@"; }
pytest() { "$PYTHON" -m pytest -q -p no:cacheprovider "$@"; }
"""


class Block(NamedTuple):
    """A fenced block. Its marker is the comment on the line before it: ``not run: WHY`` or ``file: NAME``."""

    language: str
    text: str
    marker: str
    line: int

    @property
    def why_not_run(self) -> str:
        return self.marker.removeprefix("not run: ") if self.marker.startswith("not run: ") else ""

    @property
    def file(self) -> str:
        return self.marker.removeprefix("file: ") if self.marker.startswith("file: ") else ""

    @property
    def code(self) -> bool:
        return self.language not in SHOWN


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(found["language"], found["text"], found["marker"] or "", text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def runs(page: Path) -> list[Block]:
    """The blocks that are run."""
    return [block for block in blocks(page) if block.code and not block.why_not_run]


def script(page: Path, folder: Path, replace: dict[str, str]) -> str:
    """A shell script that does what the page says; each block that is a file, or Python, is written to ``folder``."""
    parts = [SHELL]
    for block in runs(page):
        text = block.text
        for written, here in replace.items():
            text = text.replace(written, here)
        where = f"echo {shlex.quote(f'--- {page.name}:{block.line}')}"
        if block.file:
            (folder / block.file).write_text(text)
        elif block.language == "python":
            test = "def test_" in text
            name = f"{'test_' if test else ''}block_{block.line}.py"
            (folder / name).write_text(text)
            parts.append(f"{where}\n{'pytest' if test else 'python'} {name}")
        else:
            assert block.language == "sh", f"{page.name}:{block.line}: cannot run {block.language!r}"
            parts.append(f"{where}\n{text}")
    return "\n".join(parts)


def environment(base: dict[str, str], **more: str) -> dict[str, str]:
    """That of the script: this interpreter, these sources, and no database or key of the machine's."""
    clean = {name: value for name, value in base.items() if not name.startswith("TURNLOG_")}
    own = {"PYTHON": sys.executable, "CHECK": str(CHECK), "PYTHONPATH": str(TOP / "src"), "COLUMNS": "100"}
    return clean | own | more
