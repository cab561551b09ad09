"""``--archive``: a command answers from an archive what it answers from the log."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from eventstore import Recorder, open_store
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import ALL_PARTS
from exporters.archive.build import remove
from exporters.archive.place import Place
from exporters.archive.store import ArchiveStore
from support.archives import archived, s3_server
from support.events import event
from support.known_calls import call
from support.program import FIXTURES, Program
from support.recorded import RECORDED
from turnlog.cli.app import load
from turnlog.cli.commands import COMMANDS as COMMAND_TABLE
from turnlog.read_models import model_rows, plan

KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A log with all recorded calls, and its archive ``a``."""
    program = Program(tmp_path_factory.mktemp("both"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    program.run("archive", "build", "--to", "a")
    (program.folder / "budget.toml").write_text('budgets = ["response.p95 < 100 s"]\n')
    return program


COMMANDS = [
    "stats --json",
    "stats --rules videosdk-1.0 --by model --json",
    "stats --since 2026-11-22 --json",
    "sessions --json",
    "sessions --json --details",
    "sessions --with interruptions --json",
    "replay barge_in_vad --json",
    "replay barge_in_vad --turn 1",
    "payloads barge_in_vad --json",
    "spans barge_in_vad --json",
    "export csv --all",
    "export payloads --all --rules framework",
    "export perfetto barge_in_vad normal_cascading",
    "export jsonl --all",
    "events barge_in_vad --json",
    "explain barge_in_vad turn 1 e2e_latency --json",
    "explain barge_in_vad turn 1 e2e_latency --what-if",
    "barge-ins --all --json",
    "barge-ins barge_in_vad",
    "diff --all --rules videosdk-1.0 --rules videosdk-1.0.30 --json",
    "digest --all",
]
NO_ARCHIVE = {
    "tail": "nothing is appended to an archive",
    "playground": "nothing is appended to an archive",
    "deliver otlp": "it keeps cursors in the log",
    "deliver analytics": "it keeps cursors in the log",
    "deliver logs": "it keeps cursors in the log",
    "verify": "`archive verify`",
    "seal": "seals are compared with the log; `archive verify` compares those of an archive",
    "import": "it takes an archive as its argument",
    "archive build": "it reads the log",
    "record": "it writes",
    "init": "it writes",
    "recover": "it writes",
    "keys rotate": "the keys are in the log",
    "forget": "the keys are in the log",
    "retention": "it removes from the log; its --archive is a folder of JSON lines",
}
"""Commands on the log that do not read archives, with the reason."""


def on_the_log() -> Iterator[tuple[str, bool]]:
    """Each command that has --db, and whether it has the --archive of `ArchiveOption`."""
    for section in COMMAND_TABLE.values():
        for name in section:
            for sub, command in getattr(load(name), "commands", {"": load(name)}).items():
                options = {option: param.help or "" for param in command.params for option in param.opts}
                if "--db" in options:
                    shared = options.get("--archive", "").startswith("Read this archive instead of the log")
                    yield f"{name} {sub}".strip(), shared


@pytest.mark.parametrize(("name", "reads_archives"), list(on_the_log()))
def test_every_command_on_the_log_reads_an_archive_or_says_why_not(name: str, reads_archives: bool) -> None:
    """Break: in turnlog/cli/commands/explain.py, leave out the archive; or list a command that has it."""
    assert reads_archives is (name not in NO_ARCHIVE)


def test_no_reason_outlives_its_command() -> None:
    assert NO_ARCHIVE.keys() <= {name for name, _reads in on_the_log()}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_answer_is_that_of_the_log(both: Program, command: str) -> None:
    """Break: in exporters/archive/store.py, ``sessions``, leave out the last one."""
    from_log = both.run(*command.split()).stdout
    for _again in range(2):  # with rows that are made, and with those that are there
        assert both.run(*command.split(), "--archive", "a", TURNLOG_DB="none.db").stdout == from_log
    assert len(from_log) > 100


@pytest.mark.slow
def test_an_archive_is_compared_with_a_log(both: Program) -> None:
    done = both.run("diff", "--all", "--archive", "a", "--against", both.db, "--json", TURNLOG_DB="none.db")
    found = orjson.loads(done.stdout)
    assert (found["sessions"], found["changed_turns"], found["only_in_one"]) == (len(RECORDED), 0, [])


@pytest.mark.slow
def test_check_judges_an_archive(both: Program) -> None:
    arguments = ["check", both.folder / "budget.toml", "--json"]
    assert both.run(*arguments, "--archive", "a", TURNLOG_DB="none.db").stdout == both.run(*arguments).stdout


@pytest.mark.slow
def test_the_log_is_not_needed(program: Program) -> None:
    store = open_store(program.folder / "other.db")
    call(store, "s-1", [500])
    store.close()
    program.run("archive", "build", "--to", "a", "--db", program.folder / "other.db")
    (program.folder / "other.db").unlink()
    assert orjson.loads(program.run("sessions", "--archive", "a", "--json").stdout)[0]["session_id"] == "s-1"
    assert not program.db.exists()
    assert "unknown session 'nope'" in program.fails("replay", "nope", "--archive", "a")
    assert "no archive at nowhere" in program.fails("stats", "--archive", "nowhere")


# rows beside the events ---------------------------------------------------------------------------------------------


def rows_of(store: ArchiveStore) -> tuple[int, dict[str, object]]:
    """How many rows were made, and all rows."""
    planned = plan(store, store.sessions())
    made = len(planned.stale)
    rows = {session.session_id: row for session, row in model_rows(store, planned, ALL_PARTS)}
    store.close()
    return made, rows


@pytest.fixture
def log() -> MemoryStore:
    store = MemoryStore()
    for name, wall_ns in (("a", 10**18), ("b", 10**18), ("c", 2 * 10**18)):
        call(store, name, [500, 700], wall_ns=wall_ns)
    return store


def test_rows_are_made_once_and_are_those_of_the_log(log: MemoryStore, tmp_path: Path) -> None:
    """Break: in exporters/archive/rows.py, ``_write``, write nothing; or ``read``, do not compare keys."""
    archived(log, tmp_path, 1)
    made, rows = rows_of(ArchiveStore(str(tmp_path)))
    assert made == 3
    assert rows_of(ArchiveStore(str(tmp_path))) == (0, rows)
    expected = {s.session_id: row for s, row in model_rows(log, plan(log, log.sessions()), ALL_PARTS)}
    assert rows == expected
    log.append([event(0, session="a", origin="z")])
    archived(log, tmp_path)
    made, again = rows_of(ArchiveStore(str(tmp_path)))
    assert made == 1
    assert {name: row for name, row in again.items() if name != "a"} == {n: r for n, r in rows.items() if n != "a"}
    assert len(ArchiveStore(str(tmp_path)).rows.stored_keys()) == 3


def test_rows_that_are_damaged_are_made_again(log: MemoryStore, tmp_path: Path) -> None:
    archived(log, tmp_path, 1)
    _made, rows = rows_of(ArchiveStore(str(tmp_path)))
    for path in (tmp_path / "sessions").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-50])
    assert rows_of(ArchiveStore(str(tmp_path))) == (3, rows)
    assert rows_of(ArchiveStore(str(tmp_path))) == (0, rows)


def test_an_erased_session_has_no_row_and_gets_none(log: MemoryStore, tmp_path: Path) -> None:
    """Break: in exporters/archive/rows.py, ``_write``, do not compare seals."""
    archived(log, tmp_path, 1)
    opened = ArchiveStore(str(tmp_path))
    planned = plan(opened, [session for session in opened.sessions() if session.session_id != "b"])
    list(model_rows(opened, planned, ALL_PARTS))
    remove(Place(str(tmp_path)), "a")
    opened.close()  # the row of "a", which waited for that of "b", would be written now
    assert {key.session_id for key in ArchiveStore(str(tmp_path)).rows.stored_keys()} == {"c"}
    remove(Place(str(tmp_path)), "c")
    assert ArchiveStore(str(tmp_path)).rows.stored_keys() == []


OBEDIENT = """
import ctypes, os, sys
if os.geteuid() == 0:
    for override in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert ctypes.CDLL(None).prctl(24, override) == 0  # PR_CAPBSET_DROP: the next program will not have it
os.execv(sys.executable, [sys.executable, "-m", "turnlog", *sys.argv[1:]])
"""
"""The program, for which modes of files count, also if it is root."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="root's capabilities are Linux's")
def test_rows_of_a_read_only_archive_are_computed(log: MemoryStore, tmp_path: Path) -> None:
    """Break: in exporters/archive/place.py, ``is_writable``, return True: there is a warning."""
    archived(log, tmp_path / "a", 1)
    (tmp_path / "a").chmod(0o500)
    command = [sys.executable, "-c", OBEDIENT, "stats", "--archive", str(tmp_path / "a"), "--json"]
    try:
        for _again in range(2):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert orjson.loads(done.stdout)["groups"]
            assert [path.name for path in (tmp_path / "a").iterdir()] == ["events"]
    finally:
        (tmp_path / "a").chmod(0o700)
    assert rows_of(ArchiveStore(str(tmp_path / "a")))[0] == 3


def test_rows_that_cannot_be_written_are_dropped(
    log: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(log, tmp_path, 1)
    (tmp_path / "sessions").write_text("in the way")
    assert rows_of(ArchiveStore(str(tmp_path)))[0] == 3
    assert "replays are not kept for the next time" in caplog.text + capsys.readouterr().err


@pytest.mark.slow
def test_content_is_read_with_the_keys_of_the_log(program: Program) -> None:
    """Its rows are sealed as those of the log are. Break: in turnlog/sessions.py, open the archive without the log."""
    store = open_store(program.db, master_key=KEY)
    with Recorder(store, "s-1") as recorder:
        recorder.on_user_speech_start()
        recorder.on_user_speech_end()
        recorder.set_user_transcript("the secret")
    store.close()
    program.run("archive", "build", "--to", "a")
    replay = ["replay", "s-1", "--json", "--archive", "a"]
    assert "the secret" in program.run(*replay, TURNLOG_MASTER_KEY=KEY).stdout
    assert "the secret" not in program.run(*replay).stdout
    assert "the secret" not in program.run(*replay, TURNLOG_MASTER_KEY=KEY, TURNLOG_DB="none.db").stdout
    found = program.run("sessions", "--grep", "the secret", "--json", "--archive", "a", TURNLOG_MASTER_KEY=KEY).stdout
    assert [each["session_id"] for each in orjson.loads(found)] == ["s-1"]
    assert "no database at none.db" in program.fails(*replay, "--db", "none.db", TURNLOG_MASTER_KEY=KEY)
    (rows,) = (program.folder / "a" / "sessions").rglob("*.parquet")
    assert b"the secret" not in rows.read_bytes()
    program.run("forget", "s-1", "--yes", TURNLOG_MASTER_KEY=KEY)
    assert "the secret" not in program.run(*replay, TURNLOG_MASTER_KEY=KEY).stdout
    grep = ["sessions", "--grep", "the secret", "--json", "--archive", "a"]
    assert orjson.loads(program.run(*grep, TURNLOG_MASTER_KEY=KEY).stdout) == []


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        yield found


@pytest.mark.slow
def test_an_object_store_answers_too(bucket: str, log: MemoryStore) -> None:
    archived(log, bucket, 2)
    made, rows = rows_of(ArchiveStore(bucket))
    assert made == 3
    assert rows_of(ArchiveStore(bucket)) == (0, rows)
