"""Commands over many sessions print what they find when they find it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import open_store
from eventstore.integrity.gaps import Gap
from eventstore.integrity.session import Fault, SessionReport
from eventstore.stores.memory import MemoryStore
from support.events import event
from support.program import Program
from turnlog.cli.commands import verify as module
from turnlog.cli.commands.verify import Found
from turnlog.terminal import print_json, print_json_list

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(values=st.lists(JSON, max_size=4))
def test_a_streamed_array_has_the_same_bytes(values: list[Any]) -> None:
    """Break: in turnlog/terminal.py, ``print_json_list``, do not indent."""
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        for show in (print_json, print_json_list):
            ours, theirs = os.pipe()
            with os.fdopen(theirs, "w") as stream:
                patch.setattr(sys, "stdout", stream)
                show(values)
            with os.fdopen(ours, "rb") as found:
                printed.append(found.read())
    assert printed[0] == printed[1]


def test_an_item_is_printed_before_the_next_is_made(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Break: in turnlog/terminal.py, ``print_json_list``, make a list of the values first."""
    seen = []

    def values() -> Iterator[int]:
        for number in range(3):
            seen.append(capsysbinary.readouterr().out)
            yield number

    print_json_list(values())
    assert seen == [b"", b"[\n  0", b",\n  1"]
    assert capsysbinary.readouterr().out == b",\n  2\n]\n"


def test_verify_prints_a_fault_before_it_reads_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And keeps none of them. Break: in cli/commands/verify.py, ``Found.add``, print nothing."""
    store, seen = MemoryStore(), []
    store.append([event(0, session=name) for name in "ab"])

    def check(_store: object, name: str, _advance: object) -> SessionReport:
        seen.append(capsys.readouterr().out)
        return SessionReport([Fault(name, "o", 0, "changed", f"session {name}")], [Gap(name, "o", 1, 2)])

    monkeypatch.setattr(module, "check_session", check)
    found = Found(keep=False)
    module._verify_chains(store, None, None, found)
    seen.append(capsys.readouterr().out)
    assert seen[0] == ""
    assert [out.partition("\n")[0] for out in seen[1:]] in (
        ["changed: session a", "changed: session b"],
        ["changed: session b", "changed: session a"],
    )
    assert (found.fault_count, found.lost_calls, found.faults, found.gaps) == (2, 4, [], [])


@pytest.mark.slow
def test_what_goes_to_a_file_is_not_shown_beside_the_bar(program: Program) -> None:
    """With errors on a terminal. Break: in cli/common.py, ``progress``, redirect standard output always."""
    store = open_store(program.db)
    store.append([event(0), event(2)])
    store.close()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "turnlog", "verify", "--db", str(program.db)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    os.close(ours)
    assert b"missing: session 's'" in done.stdout
    assert done.returncode == 0
