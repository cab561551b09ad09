"""``turnlog record``; the frameworks themselves run in `tests/adapters`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from eventstore import Store, open_store
from support.program import Program
from turnlog import Recorder
from turnlog.cli.app import app


@pytest.mark.parametrize("framework", ["videosdk", "livekit", "pipecat"])
def test_a_framework_that_is_not_there_is_one_line(
    program: Program, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = program.folder / "none" / framework
    nowhere.mkdir(parents=True)
    (nowhere / "__init__.py").write_text(f'raise ModuleNotFoundError("no {framework} here")\n')
    monkeypatch.setenv("PYTHONPATH", str(nowhere.parent), prepend=":")
    line = program.fails("record", "--demo-agent", framework)
    assert f"pip install 'turnlog[{framework}]'" in line
    assert not program.db.exists()


def test_a_demo_agent_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(store: Store, session_id: str) -> None:
        with Recorder(store, session_id) as recorder:
            recorder.start_turn()
            recorder.on_user_speech_start()

    demo = ModuleType("turnlog.adapters.livekit.demo.agent")
    demo.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "turnlog.adapters.livekit.demo.agent", demo)
    db = tmp_path / "calls.db"
    for name, session in (([], "demo-livekit"), (["--session", "mine"], "mine"), ([], "demo-livekit")):
        done = CliRunner().invoke(app, ["record", "--demo-agent", "livekit", *name, "--db", str(db)])
        assert done.exit_code == 0, done.output
        assert done.output == f"recorded 2 events as {session}; next: turnlog replay {session}\n"
    store = open_store(db)
    assert {s.session_id: s.events for s in store.sessions()} == {"demo-livekit": 4, "mine": 2}
    store.close()
