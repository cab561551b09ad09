"""The command line: what it prints, and how it fails."""

from __future__ import annotations

import gzip
import shutil
import signal
import sqlite3
import subprocess
import sys

import orjson
import pytest

from support.program import FIXTURES, Program
from turnlog import Recorder, open_store

DEMO = FIXTURES / "demo.jsonl.gz"
DEMO_LINE = gzip.decompress(DEMO.read_bytes())


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("cli"))
    program.run("import", DEMO, FIXTURES / "recordings.jsonl.gz")
    return program


def test_demo_shows_a_call_with_an_interruption(program: Program) -> None:
    shown = program.run("demo").stdout
    assert "interrupted" in shown
    assert "What is your return policy?" in shown
    assert "1,281 ms" in shown
    assert "videosdk-agents reports 449 ms" in shown
    assert "LLM first token" in shown
    assert not program.db.exists()


def test_import_says_what_it_did_and_importing_again_changes_nothing(program: Program) -> None:
    assert program.run("import", DEMO).stdout == "imported 1 session, 172 events\n"
    assert program.run("import", DEMO).stdout == "imported 1 session, 172 events\n"
    (session,) = orjson.loads(program.run("sessions", "--json").stdout)
    assert session["events"] == 172


def test_sessions_and_events(imported: Program) -> None:
    assert "barge_in_vad" in imported.run("sessions").stdout
    events = orjson.loads(imported.run("events", "barge_in_vad", "--json").stdout)
    assert len(events) == 172
    assert events[0]["hook"] == "configure_pipeline"
    assert "on_interrupted" in imported.run("events", "barge_in_vad").stdout


def test_the_framework_s_reading_is_the_library_s(imported: Program) -> None:
    from projections import call_dict, replay

    release = "--rules", "videosdk-1.0"
    store = open_store(imported.db)
    call = replay(store.read("barge_in_vad"))
    store.close()
    printed = orjson.loads(imported.run("replay", "barge_in_vad", "--json", *release).stdout)
    assert printed.pop("missing") == []
    assert printed == orjson.loads(orjson.dumps(call_dict(call)))
    shown = imported.run("replay", "barge_in_vad", *release).stdout
    assert all(f"turn {n}" in shown for n in (1, 2, 3, 4))
    second = imported.run("replay", "barge_in_vad", "--turn", 2, *release).stdout
    assert "What is your return policy?" in second
    assert "The one from last Friday" not in second
    turn = orjson.loads(imported.run("replay", "barge_in_vad", "--turn", 2, "--json", *release).stdout)
    assert turn["is_interrupted"] is True


def test_replay_at_an_event(imported: Program) -> None:
    events = orjson.loads(imported.run("events", "barge_in_vad", "--json").stdout)
    at = next(event["seq"] for event in events if event["hook"] == "on_interrupted")
    release = "--rules", "videosdk-1.0"
    before = orjson.loads(imported.run("replay", "barge_in_vad", "--at", at - 1, "--json", *release).stdout)
    after = orjson.loads(imported.run("replay", "barge_in_vad", "--at", at, "--json", *release).stdout)
    assert (before["total_interruptions"], after["total_interruptions"]) == (0, 1)
    assert after["current_turn"]["is_interrupted"] is True
    assert "turn open" in imported.run("replay", "barge_in_vad", "--at", at, *release).stdout
    read = orjson.loads(imported.run("replay", "barge_in_vad", "--at", at, "--json").stdout)
    assert [turn["interrupted"] for turn in read["turns"]] == [False, True, False]  # the third: who cut in


def test_payloads_and_spans(imported: Program) -> None:
    payloads = orjson.loads(imported.run("payloads", "barge_in_vad", "--json").stdout)
    assert [payload["interrupted"] for payload in payloads] == [False, True, False, False]
    assert "e2eLatency" in imported.run("payloads", "barge_in_vad").stdout
    spans = orjson.loads(imported.run("spans", "barge_in_vad", "--json").stdout)
    assert {"Turn #2", "Response", "Agent Session"} <= {span["name"] for span in spans}
    assert len({span["span_id"] for span in spans}) == len(spans)
    spans = orjson.loads(imported.run("spans", "barge_in_vad", "--json", "--rules", "videosdk-1.0").stdout)
    assert {"Turn #2", "User & Agent Turns"} <= {span["name"] for span in spans}
    assert "Turn #2" in imported.run("spans", "barge_in_vad").stdout


def test_a_session_of_several_origins(program: Program) -> None:
    store = open_store(program.db)
    for origin in ("a", "b"):
        with Recorder(store, "s", origin=origin) as recorder:
            recorder.on_eou_start()
            recorder.on_eou_complete()
    store.close()
    assert "a:0" in program.run("events", "s").stdout
    assert "pick one: a:1, b:1" in program.fails("replay", "s", "--at", "1")
    assert orjson.loads(program.run("replay", "s", "--at", "b:0", "--json").stdout)["session"]["events"] == 3


def test_init_and_the_default_place(program: Program) -> None:
    assert "calls.db" in program.run("init").stdout
    assert "no sessions yet" in program.run("sessions").stdout
    program.run("init", TURNLOG_DB="")
    assert (program.folder / "data" / "turnlog" / "calls.db").exists()


def test_the_database_may_be_named_in_either_place(imported: Program) -> None:
    url = f"sqlite:///{imported.db}"
    assert imported.run("--db", url, "sessions", TURNLOG_DB="").stdout == imported.run("sessions", "--db", url).stdout


def test_recover_brings_back_what_a_crash_left(program: Program) -> None:
    crash = (
        "import os, sys\n"
        "from turnlog import Recorder, open_store\n"
        "store = open_store(sys.argv[1])\n"
        "recorder = Recorder(store, 's')\n"
        "lock = recorder._writer.backlog.lock\n"
        "lock.acquire()\n"
        "for _ in range(7): recorder.on_eou_start()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", crash, program.db], check=False)
    assert "recovered 7 events" in program.run("recover").stdout
    assert "nothing to recover" in program.run("recover").stdout
    assert orjson.loads(program.run("sessions", "--json").stdout)[0]["events"] == 7
    assert "there is no folder" in program.fails("recover", "--journal", program.folder / "nowhere")


def test_tail_follows(program: Program) -> None:
    program.run("import", DEMO)
    command = [sys.executable, "-m", "turnlog", "tail", "barge_in_vad", "--json", "--db", str(program.db)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        lines = [orjson.loads(tail.stdout.readline()) for _ in range(172)]
        store = open_store(program.db)
        with Recorder(store, "barge_in_vad") as recorder:
            recorder.on_eou_start()
        store.close()
        new = orjson.loads(tail.stdout.readline())
        tail.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    assert [line["seq"] for line in lines] == list(range(172))
    assert (new["hook"], new["origin"]) == ("on_eou_start", recorder.origin)
    assert "not a position" in program.fails("tail", "--after", "x")


def test_the_commands_on_postgres(program: Program, postgres_url: str) -> None:
    assert "turnlog init --db" in program.fails("sessions", "--db", postgres_url)
    assert "ready: Postgres" in program.run("init", "--db", postgres_url).stdout
    program.run("import", DEMO, "--db", postgres_url)
    assert "barge_in_vad" in program.run("sessions", "--db", postgres_url).stdout
    assert "What is your return policy?" in program.run("replay", "barge_in_vad", "--db", postgres_url).stdout


# conformance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--fast"]])
def test_conformance(program: Program, options: list[str]) -> None:
    done = program.run("conformance", *options, DEMO)
    assert done.stdout == "1 sessions, 172 calls, 0 mismatches\n"


def test_conformance_prints_mismatches_and_exits_1(program: Program) -> None:
    line = orjson.loads(DEMO_LINE)
    for payload in line["expect"]["payloads"]:
        for name in payload:
            payload[name] = "wrong"
    (program.folder / "wrong.jsonl").write_bytes(orjson.dumps(line))
    done = program.run("conformance", "wrong.jsonl", code=1)
    *mismatches, last = done.stdout.splitlines()
    assert len(mismatches) == 20
    assert mismatches[0].startswith('barge_in_vad payloads[0].e2eLatency: expected "wrong", got ')
    assert last.startswith("1 sessions, 172 calls, ")
    assert int(last.split()[-2]) > 20


def test_conformance_dump_has_our_output_and_passes_the_rest_through(program: Program) -> None:
    line = orjson.loads(DEMO_LINE)
    expect = line.pop("expect")
    line["calls"][0]["note"] = 2
    (program.folder / "bare.jsonl").write_bytes(orjson.dumps(line | {"note": 1}))
    program.run("conformance", "bare.jsonl", "--dump", "out.jsonl")
    dumped = orjson.loads((program.folder / "out.jsonl").read_bytes())
    assert dumped.pop("expect") == expect
    assert dumped == line | {"note": 1}
    assert "cannot write" in program.fails("conformance", "bare.jsonl", "--dump", "nowhere/out.jsonl")


# errors -------------------------------------------------------------------------------------------------------------


def test_an_unknown_session_is_named_with_its_nearest(imported: Program) -> None:
    for command in ("replay", "events", "payloads", "spans"):
        assert "did you mean 'barge_in_vad'" in imported.fails(command, "barge_in_vda")
    assert "`turnlog sessions` lists" in imported.fails("replay", "zzz")


def test_a_turn_or_event_that_is_not_there(imported: Program) -> None:
    assert "no turn 9" in imported.fails("replay", "barge_in_vad", "--turn", 9)
    assert "the last one is 171" in imported.fails("replay", "barge_in_vad", "--at", 999)
    assert "--at takes the seq" in imported.fails("replay", "barge_in_vad", "--at", "soon")
    assert "known: turnlog, framework, videosdk-1.0" in imported.fails("replay", "barge_in_vad", "--rules", "best")


def test_no_database_yet(program: Program) -> None:
    assert "no database at" in program.fails("sessions")
    assert not program.db.exists()


def test_files_that_cannot_be_imported(program: Program) -> None:
    good = DEMO_LINE.strip()
    cases = {
        "missing.jsonl": (None, "No such file"),
        "text.jsonl": (good + b"\nhello\n", "text.jsonl:2: not JSON"),
        "unknown.jsonl": (good.replace(b"on_tts_start", b"on_tts_strat"), "unknown hook 'on_tts_strat'"),
        "argument.jsonl": (good.replace(b'"count":', b'"amount":'), "takes no argument 'amount'"),
        "shape.jsonl": (b'{"name": "x", "calls": [{"hook": "on_eou_start"}]}', "shape.jsonl:1: calls.0.target"),
        "list.jsonl": (b"[1]", "list.jsonl:1: "),
        "cut.jsonl.gz": (DEMO.read_bytes()[:-2000], "truncated or damaged after line 0"),
    }
    for name, (content, message) in cases.items():
        if content is not None:
            (program.folder / name).write_bytes(content)
        assert message in program.fails("import", name), name


def test_a_file_is_imported_whole_or_not_at_all(program: Program) -> None:
    good = orjson.loads(DEMO_LINE)
    bad = orjson.loads(DEMO_LINE) | {"name": "bad"}
    bad["calls"][100]["hook"] = "nope"
    (program.folder / "two.jsonl").write_bytes(orjson.dumps(good) + b"\n" + orjson.dumps(bad) + b"\n")
    assert "two.jsonl:2: call 100: unknown hook 'nope'" in program.fails("import", "two.jsonl")
    assert orjson.loads(program.run("sessions", "--json").stdout) == []
    program.run("import", DEMO)
    good["calls"][50]["perf_ns"] += 1
    (program.folder / "changed.jsonl").write_bytes(orjson.dumps(good))
    assert "already stored with different content" in program.fails("import", "changed.jsonl")


def test_arguments_may_be_left_out(program: Program) -> None:
    call = {"target": "collector", "hook": "on_eou_start", "perf_ns": 1, "wall_ns": 1}
    recording = {"name": "s", "calls": [call, call | {"args": None}, call | {"args": {}}]}
    (program.folder / "bare.jsonl").write_bytes(orjson.dumps(recording))
    assert program.run("import", "bare.jsonl").stdout == "imported 1 session, 3 events\n"
    assert program.run("conformance", "bare.jsonl").stdout == "1 sessions, 3 calls, 0 mismatches\n"


def test_a_file_of_single_calls(program: Program) -> None:
    calls = orjson.loads(DEMO_LINE)["calls"]
    lines = [orjson.dumps({"session": f"s{n % 2}", **call}) for n, call in enumerate(calls)]
    (program.folder / "calls.jsonl").write_bytes(b"\n".join(lines))
    assert program.run("import", "calls.jsonl").stdout == "imported 2 sessions, 172 events\n"


def test_databases_that_cannot_be_opened(program: Program) -> None:
    program.db.write_text("not a database " * 100)
    assert "not an SQLite database" in program.fails("sessions")
    program.db.unlink()
    program.run("init")
    with sqlite3.connect(program.db) as future:
        future.execute("UPDATE alembic_version SET version_num = '9999'")
    future.close()
    assert "upgrade turnlog" in program.fails("sessions")
    assert "no store for 'mysql'" in program.fails("sessions", "--db", "mysql://localhost/x")


@pytest.mark.slow
def test_a_locked_database(program: Program) -> None:
    program.run("init")
    with sqlite3.connect(program.db, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked by another process" in program.fails("import", DEMO)
    other.close()


def test_a_read_only_database(program: Program) -> None:
    program.run("import", DEMO)
    url = f"sqlite:///file:{program.db}?mode=ro&uri=true"
    assert "barge_in_vad" in program.run("sessions", "--db", url).stdout
    other = shutil.copy(FIXTURES / "conformance.jsonl.gz", program.folder)
    assert "read-only" in program.fails("import", other, "--db", url)


def test_the_reader_of_our_output_may_leave(imported: Program) -> None:
    script = f"{sys.executable} -m turnlog events barge_in_vad --json --db {imported.db} | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "["
    assert "Traceback" not in done.stderr


def test_version_and_help(program: Program) -> None:
    assert program.run("--version").stdout.strip()
    for command in (
        "demo",
        "init",
        "import",
        "sessions",
        "replay",
        "events",
        "payloads",
        "spans",
        "recover",
        "conformance",
    ):
        assert command in program.run("--help").stdout
        assert "Usage" in program.run(command, "--help").stdout
