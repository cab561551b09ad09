"""Nothing of a log speaks to the terminal."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from eventstore.stores.memory import MemoryStore
from support.http_receiver import Receiver
from support.program import FIXTURES, Program
from support.terminal import terminal
from turnlog import Recorder, open_store
from turnlog.console import SafeConsole, safe
from turnlog.terminal import escaped, in_line, json_text

SOURCE = Path(__file__).resolve().parents[2] / "src" / "turnlog"
EVIL = "\x1b]0;PWNED\x07\x1b[2J\x1b[31mRED\x9b1m\u202etxt\u2028x\x7f"
SPEAKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Written out here, so that the program's own list is not its own judge."""
SESSION = f"s{EVIL}\n[red]id[/red]"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("terminal"))
    store = open_store(program.db)
    for session in (SESSION, "=cmd|' /C calc'!A0"):
        recorded = MemoryStore()
        with Recorder(recorded, "s") as r:
            r.on_user_speech_start()
            r.on_user_speech_end()
            r.set_user_transcript(f"hi {EVIL} [bold]m[/] [link=http://evil]x[/link] :smile:")
            r.on_llm_start()
            r.on_llm_first_token()
            r.on_tts_start()
            r.on_tts_first_byte()
            r.on_agent_speech_start()
            r.set_agent_response(f"=cmd|' /C calc'!A0 {EVIL}")
            r.add_function_tool_call(f"tool{EVIL}[red]", tool_params={"a": EVIL}, start_time=1.0, end_time=2.0)
            r.add_error(f"src{EVIL}[red]x", EVIL)
            r.log_record(f"INFO{EVIL}", f"lg{EVIL}", f"msg {EVIL} [red]x", 1.0, {})
            r.on_interrupted()
            r.on_agent_speech_end()
            r.complete_turn()
        # a recorder gives no such name
        store.append([msgspec.structs.replace(event, session_id=session) for event in recorded.read("s")])
    store.close()
    return program


COMMANDS: list[tuple[str, ...]] = [
    ("sessions",), ("sessions", "--json"), ("replay", SESSION), ("replay", SESSION, "--logs"),
    ("replay", SESSION, "--json"), ("events", SESSION), ("events", SESSION, "--json"), ("payloads", SESSION),
    ("spans", SESSION), ("explain", SESSION, "1"), ("explain", SESSION, "turn", "1", "user_speech", "--what-if"),
    ("stats", "--by", "session"), ("explain", SESSION, EVIL),
    ("stats", "--by", "session", "--plot", "e2e"), ("barge-ins", "--all"), ("seal", SESSION), ("replay", EVIL),
    ("nope" + EVIL,), ("--opt" + EVIL,), ("replay", SESSION, "--at", EVIL), ("replay", SESSION, "--turn", EVIL),
    ("diff", "--all", "--rules", "videosdk-1.0", "--rules", "videosdk-1.0.30"), ("import", "file" + EVIL),
    ("export", "csv", SESSION, "--out", f"nowhere{EVIL}/x"), ("retention", "--session", SESSION, "--dry-run"),
    ("retention", "--session", SESSION), ("stats", "--since", EVIL), ("sessions", "--db", EVIL),
]  # fmt: skip


def run(program: Program, *arguments: str, encoding: str = "utf-8") -> str:
    arguments = tuple(argument.replace("\x00", "") for argument in arguments)
    db = () if "--db" in arguments else ("--db", str(program.db))
    done = subprocess.run(
        [sys.executable, "-m", "turnlog", *db, *arguments],
        env=os.environ | {"PYTHONIOENCODING": encoding}, cwd=program.folder, capture_output=True, check=False,
    )  # fmt: skip
    return (done.stdout + done.stderr).decode("utf-8", "surrogateescape")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: in_line(command[0][:9]))
def test_every_command(hostile: Program, command: tuple[str, ...]) -> None:
    """Break: in turnlog/terminal.py, ``escaped`` and ``in_line``, return the text."""
    printed = run(hostile, *command)
    assert printed
    assert not SPEAKS.search(printed), ascii(printed)
    assert "Traceback" not in printed


@pytest.mark.slow
def test_any_encoding(hostile: Program) -> None:
    for command in (("replay", SESSION), ("stats", "--plot", "e2e"), ("import", "ünï")):
        printed = run(hostile, *command, encoding="ascii")
        assert printed.isascii()
        assert "Traceback" not in printed


@pytest.mark.slow
def test_on_a_terminal_only_our_own_styles(hostile: Program) -> None:
    for command in (
        ("replay", SESSION),
        ("export", "csv", SESSION),
        ("export", "jsonl", SESSION),
        ("payloads", SESSION),
    ):
        with terminal(hostile.folder, *command, "--db", str(hostile.db)) as (process, pieces):
            shown = b"".join(pieces)
            assert process.wait(60) == 0
        text = re.sub(r"\x1b\[[0-9;]*[mKAlh?]|\x1b\[\?25[lh]", "", shown.decode())
        assert "RED" in text
        assert "\x1b[31mRED" not in shown.decode()
        assert not SPEAKS.search(text.replace("\r", "")), ascii(text)


@pytest.mark.slow
def test_what_a_server_answers(hostile: Program) -> None:
    with Receiver() as endpoint:
        endpoint.text = EVIL.encode()
        endpoint.behave = lambda _request: 422
        printed = run(hostile, "deliver", "analytics", "--endpoint", endpoint.url)
        printed += run(hostile, "deliver", "--parked") + run(hostile, "deliver", "--parked", "--json")
    assert "PWNED" in printed
    assert not SPEAKS.search(printed), ascii(printed)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text: str) -> None:
    assert not SPEAKS.search(escaped(text))
    assert not SPEAKS.search(in_line(text))
    assert "\n" not in in_line(text)
    assert escaped(escaped(text)) == escaped(text)
    assert not SPEAKS.search(json_text({text: [text]}))
    assert json.loads(json_text({text: [text]})) == {text: [text]}


@given(st.text(st.characters(exclude_categories=("Zs",)), min_size=1, max_size=30))
def test_any_text_in_a_console(text: str) -> None:
    """Break: in turnlog/terminal.py, ``SafeConsole.render``, pass the segments on."""
    out = io.StringIO()
    console = SafeConsole(file=out, width=400, force_terminal=True, highlight=False, emoji=False)
    table = Table()
    table.add_column(safe(text))
    table.add_row(safe(text))
    console.print(table)
    console.print(text, markup=False)
    console.print(Text(text))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert not SPEAKS.search(shown), ascii(shown)


@pytest.mark.parametrize("text", ["[red]x[/red]", "[link=http://evil]x[/link]", ":smile:", "a\\", "[/]", "\\[red]"])
def test_markup_of_a_log_is_text(text: str) -> None:
    out = io.StringIO()
    SafeConsole(file=out, width=80, highlight=False, emoji=False).print(f"[bold]{safe(text)}[/]")
    assert out.getvalue() == f"{text}\n"


def test_no_command_prints_past_it() -> None:
    past = re.compile(r"typer\.(echo|secho)|click\.|[^.\w]print\(|sys\.std(out|err)\.(write|buffer)|[^e]Console\(")
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name == "terminal.py" or "adapters" in path.parts:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not past.search(line), f"{path.name}:{number} prints past turnlog.terminal: {line.strip()}"


@pytest.mark.parametrize(
    "command", [["explain", "barge_in_vad", "turn", "2"], ["sessions"], ["barge-ins", "--all"], ["rules"]]
)
def test_a_pipe_gets_no_trailing_blanks(program: Program, command: list[str]) -> None:
    """Break: in terminal.py, give `output` no file."""
    program.run("import", FIXTURES / "demo.jsonl.gz")
    assert not [line for line in program.run(*command).stdout.splitlines() if line != line.rstrip()]
