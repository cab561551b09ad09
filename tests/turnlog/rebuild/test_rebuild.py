"""A rebuild is a replay of each session, on whatever processes: same rows, same bytes, whatever is killed meanwhile."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import orjson
import psutil
import pytest

from eventstore.errors import StoreError
from eventstore.stores.memory import MemoryStore
from exporters.archive.place import Place
from exporters.files.payloads import lines
from projections.measures import measures
from projections.readings import reading
from support.archives import archived, files_of, s3_server
from support.events import event
from support.program import Program
from support.recorded import RECORDED
from turnlog.rebuild import cluster as cluster_module
from turnlog.rebuild import task as module
from turnlog.rebuild.outputs import OUTPUTS
from turnlog.rebuild.run import rebuild
from turnlog.rebuild.task import OtherEngine, run, tasks

ALL = list(OUTPUTS)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with all recorded calls, in eight partitions."""
    folder = tmp_path_factory.mktemp("archive")
    log = MemoryStore()
    for events in RECORDED.values():
        log.append(events)
    archived(log, folder)
    return folder


@pytest.fixture(scope="module")
def alone(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process rebuilds of it."""
    folder = tmp_path_factory.mktemp("alone")
    rebuild(str(archive), str(folder), "turnlog", ALL)
    return folder


def outputs_of(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in files_of(folder).items() if path.endswith(".parquet")}


def rows(folder: Path, what: str, columns: str = "*") -> list[tuple[object, ...]]:
    files = f"read_parquet('{folder}/{what}/*/*/*/*.parquet', hive_partitioning = false)"
    return duckdb.sql(f"SELECT {columns} FROM {files}").fetchall()


@pytest.mark.slow
def test_turns_are_those_of_a_replay(alone: Path) -> None:
    """Break: in turnlog/rebuild/outputs.py, ``_turns``, leave out the last turn."""
    made = {(row[0], row[1]): row[:-2] for row in rows(alone, "turns")}
    replayed = [turn for events in RECORDED.values() for turn in measures(events)]
    assert made == {(turn.session, turn.turn): msgspec.structs.astuple(turn) for turn in replayed}
    assert rows(alone, "turns", "count(user_speech) > 20")[0][0]


@pytest.mark.slow
def test_payloads_spans_and_events_are_those_of_a_replay(alone: Path) -> None:
    payloads = {(name, turn): orjson.loads(text) for name, turn, text in rows(alone, "payloads")}
    calls = {name: reading(events) for name, events in RECORDED.items()}
    assert payloads == {
        (name, number): orjson.loads(line)
        for name, call in calls.items()
        for number, line in enumerate(lines(call.payloads), 1)
    }
    assert len(rows(alone, "spans")) == sum(len(call.spans) for call in calls.values())
    order = sorted(rows(alone, "events", "session, number, origin, seq, hook"))
    assert order == [
        (name, number, e.origin, e.seq, e.hook)
        for name in sorted(RECORDED)
        for number, e in enumerate(RECORDED[name])
    ]  # fmt: skip


@pytest.mark.slow
def test_frameworks_rules_have_their_own_files(archive: Path, tmp_path: Path) -> None:
    done = rebuild(str(archive), str(tmp_path), "videosdk-1.0", ALL)
    assert (done.failed, done.lost, done.written) == ({}, {}, 32)
    name = "barge_in_vad"
    call = reading(RECORDED[name], "videosdk-1.0")
    made = [orjson.loads(text) for found, _turn, text in rows(tmp_path, "payloads") if found == name]
    assert made == [orjson.loads(line) for line in lines(call.payloads)]
    assert {path.parts[-4] for path in tmp_path.rglob("*.parquet")} == {"rules=videosdk-1.0"}


@pytest.mark.slow
def test_a_cluster_makes_the_same_bytes(archive: Path, alone: Path, tmp_path: Path) -> None:
    """With two processes of our own, and on a scheduler that is there already."""
    from distributed import LocalCluster

    assert rebuild(str(archive), str(tmp_path / "two"), "turnlog", ALL, workers=2).lost == {}
    assert outputs_of(tmp_path / "two") == outputs_of(alone)
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster:
        done = rebuild(str(archive), str(tmp_path / "there"), "turnlog", ALL, scheduler=cluster.scheduler_address)
    assert (done.lost, done.written) == ({}, 32)
    assert outputs_of(tmp_path / "there") == outputs_of(alone)


@pytest.mark.slow
def test_a_scheduler_without_workers_is_an_error(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cluster_module, "NO_WORKERS_SECONDS", 0.1)
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as cluster,
        pytest.raises(StoreError, match="has no worker; start one with: dask worker tcp://127"),
    ):
        rebuild(str(archive), str(tmp_path), "turnlog", ["turns"], scheduler=cluster.scheduler_address)


KILLER = """
import sys, threading
import psutil
from turnlog.rebuild import cluster
from turnlog.rebuild.run import rebuild

archive, out, limit, *what = sys.argv[1:]
begun, ended, killed = threading.Event(), threading.Event(), set()

def workers():
    for child in psutil.Process().children():
        if any("forkserver" in word for word in child.cmdline()):
            yield from child.children()

def kill():
    begun.wait()
    while len(killed) < int(limit) and not ended.wait(0.001):
        for worker in workers():
            if worker.pid not in killed:
                worker.kill()
                killed.add(worker.pid)

if __name__ == "__main__":
    cluster.SETTINGS["distributed.scheduler.no-workers-timeout"] = "1s"
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        done = rebuild(archive, out, "turnlog", what, workers=2, on_done=lambda partitions: begun.set())
        assert (done.lost, done.failed) == ({}, {}), done
    finally:
        ended.set()
        killer.join()
        print(len(killed))
"""
"""A rebuild whose workers are killed as soon as they are there, once a partition is done."""


def killing(archive: Path, out: Path, limit: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", KILLER, str(archive), str(out), str(limit), *ALL]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2, 12])
def test_a_worker_that_is_killed_costs_time_alone(archive: Path, alone: Path, tmp_path: Path, limit: int) -> None:
    """Also if those that replace it are killed, while they start. Break: in cluster.py, allow no failures."""
    done = killing(archive, tmp_path, limit)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= limit
    assert outputs_of(tmp_path) == outputs_of(alone)
    assert rebuild(str(archive), str(tmp_path), "turnlog", ALL).written == 0
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_a_rebuild_without_workers_ends(archive: Path, alone: Path, tmp_path: Path) -> None:
    """If every worker is killed, it says so, and the next one goes on. Break: in cluster.py, no timeout."""
    done = killing(archive, tmp_path, 1_000_000)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("eventstore.errors.StoreUnavailable: the rebuild has no worker left")
    assert len(outputs_of(tmp_path)) < len(outputs_of(alone))
    assert rebuild(str(archive), str(tmp_path), "turnlog", ALL).lost == {}
    assert outputs_of(tmp_path) == outputs_of(alone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_rebuild_ends_its_workers(
    archive: Path, alone: Path, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    """Ctrl-C reaches all processes, SIGTERM one. Break: in cluster.py, ``_ignoring_interrupts``, ignore none."""
    for attempt in itertools.count():
        out = tmp_path / str(attempt)
        code, said, left = interrupted(archive, out, number, workers)
        if outputs_of(out).keys() != outputs_of(alone).keys():
            break  # else it was done before the signal came
    assert (code, said) == (128 + number, "turnlog: interrupted; run it again to make what is missing\n")
    assert left == []
    made = outputs_of(out)
    assert made.items() < outputs_of(alone).items()
    assert rebuild(str(archive), str(out), "turnlog", ALL).written == len(outputs_of(alone)) - len(made)
    assert outputs_of(out) == outputs_of(alone)


def interrupted(archive: Path, out: Path, number: signal.Signals, workers: int) -> tuple[int, str, list[object]]:
    """Exit code, standard error and surviving processes of a rebuild that gets the signal after its first file."""
    words = ["rebuild", "--archive", archive, "--out", out, "--what", ",".join(ALL), "--workers", workers]
    command = [sys.executable, "-m", "turnlog", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as program:
        while not list((out / "turns").rglob("turns.parquet")):
            assert program.poll() is None
        ours = psutil.Process(program.pid).children(recursive=True) if program.poll() is None else []
        os.killpg(program.pid, number) if number == signal.SIGINT else program.send_signal(number)
        assert program.stderr is not None
        said = program.stderr.read()
    _ended, left = psutil.wait_procs(ours, 30)
    return program.returncode, said, left


@pytest.fixture
def small(tmp_path: Path) -> tuple[MemoryStore, Path]:
    """A log with two short sessions in two partitions, and its archive."""
    log = MemoryStore()
    log.append([event(0, session="a"), event(0, session="b", wall_ns=2 * 10**18)])
    archived(log, tmp_path / "archive", 1)
    return log, tmp_path / "archive"


def test_what_is_there_is_not_made_again(
    small: tuple[MemoryStore, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in turnlog/rebuild/task.py, ``run``, compare no stamps."""
    log, archive = small

    def written(*what: str) -> int:
        return rebuild(str(archive), str(tmp_path / "out"), "turnlog", what).written

    assert [written("turns"), written("turns"), written("turns", "events")] == [2, 0, 2]
    log.append([event(1, session="a")])
    archived(log, archive)
    assert [written("turns", "events"), written("turns", "events")] == [2, 0]
    monkeypatch.setattr(module, "engine", lambda: "another")
    assert [written("turns"), written("turns")] == [2, 0]
    for path in (tmp_path / "out").rglob("*.parquet"):
        path.write_bytes(b"damaged")
    assert written("turns") == 2


def test_a_worker_with_a_different_version_refuses(small: tuple[MemoryStore, Path], tmp_path: Path) -> None:
    (first, _second) = tasks(Place(str(small[1])), Place(str(tmp_path / "out")), "turnlog", ["turns"])
    with pytest.raises(OtherEngine, match="install the same one"):
        run(first._replace(engine="another"))
    assert not (tmp_path / "out").exists()


def test_files_of_partitions_that_are_gone_are_removed(small: tuple[MemoryStore, Path], tmp_path: Path) -> None:
    from exporters.archive.build import remove

    _log, archive = small
    rebuild(str(archive), str(tmp_path / "out"), "turnlog", ["turns"])
    remove(Place(str(archive)), "b")
    assert rebuild(str(archive), str(tmp_path / "out"), "turnlog", ["turns"]).removed == 1
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 1


@pytest.mark.slow
def test_sessions_that_cannot_be_replayed_are_reported(program: Program) -> None:
    """On standard error and in the report, also when their files are there already; the others are rebuilt."""
    log = MemoryStore()
    log.append([event(0, session="good"), msgspec.structs.replace(event(0, session="bad"), hook="from_the_future")])
    archived(log, program.folder / "a", 1)
    for written in (1, 0):
        done = program.run("rebuild", "--archive", "a", "--out", "o", "--workers", "1", "--json", code=1)
        found = orjson.loads(done.stdout)
        assert list(found["failed"]) == ["bad"]
        assert found["written"] == written
        assert "from_the_future" in done.stderr
        assert orjson.loads((program.folder / "o" / "report.json").read_bytes())["failed"] == found["failed"]


@pytest.mark.slow
def test_what_is_wrong_is_one_line(program: Program) -> None:
    log = MemoryStore()
    log.append([event(0)])
    archived(log, program.folder / "a", 1)
    rebuild_a = ["rebuild", "--archive", "a", "--out", "o"]
    assert "there is no output 'nope'; --what takes: turns" in program.fails(*rebuild_a, "--what", "nope")
    assert "--what is empty" in program.fails(*rebuild_a, "--what", ",")
    assert "unknown rule set" in program.fails(*rebuild_a, "--rules", "nope")
    assert "no archive at none" in program.fails("rebuild", "--archive", "none", "--out", "o")
    assert "leave it out with --scheduler" in program.fails(*rebuild_a, "--workers", "2", "--scheduler", "tcp://x:1")
    assert "no scheduler at tcp://127.0.0.1:9" in program.fails(*rebuild_a, "--scheduler", "tcp://127.0.0.1:9")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        yield found


@pytest.mark.slow
def test_from_and_to_an_object_store(bucket: str, archive: Path, alone: Path) -> None:
    log = MemoryStore()
    for events in RECORDED.values():
        log.append(events)
    archived(log, f"{bucket}/archive")
    assert rebuild(f"{bucket}/archive", f"{bucket}/out", "turnlog", ["turns"]).written == 8
    place = Place(f"{bucket}/out")
    made = {path: content for path, content in outputs_of(alone).items() if path.startswith("turns/")}
    assert {path: place.source(path).read() for path in made} == made
    assert rebuild(f"{bucket}/archive", f"{bucket}/out", "turnlog", ["turns"]).written == 0
