"""SIGKILL at each step of a build: what has a name is complete, and the next build finishes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BUILDS = """
import itertools, os, pathlib, shutil, signal, sys
import exporters.archive.write
import pyarrow.parquet
from exporters.archive.place import Place
from exporters.archive.verify import verify
from exporters.archive.build import build, plan
from exporters.archive.store import ArchiveStore
from eventstore.stores.memory import MemoryStore
from support.archives import chains_of, files_of
from support.events import event

DAY = 86_400 * 10**9
folder = pathlib.Path(sys.argv[1])

def forked(work):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

def run(log, where):
    place = Place(str(where))
    with place.exclusive():
        build(log, place, plan(log, place, log.sessions(), 1))

def killed_at(last, log, where):
    steps = itertools.count(1)

    def counted(function):
        def call(*args, **kwargs):
            for when in (0, 1):
                if next(steps) == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                if when == 0:
                    found = function(*args, **kwargs)
            return found
        return call

    for owner, name in (
        (os, "fsync"), (os, "mkdir"), (os, "replace"), (os, "unlink"), (os, "rename"),
        (pyarrow.parquet.ParquetWriter, "write_batch"), (pyarrow.parquet.ParquetWriter, "close"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    run(log, where)

first, then = MemoryStore(), MemoryStore()
before = [event(n, session=name) for name in ("grows", "moves", "stays") for n in range(3)]
first.append(before)
then.append(before)
then.append([event(3, session="grows"), event(0, session="moves", origin="a", wall_ns=10**18 - DAY)])
then.append([event(n, session="new", wall_ns=10**18 + DAY) for n in range(3)])

def compare(where, log):
    place = Place(str(where))
    names = {s.session_id for s in ArchiveStore(str(where)).sessions()}
    assert {"grows", "moves", "stays"} <= names, names
    faults = [fault.message for fault in verify(place, place.partitions())]
    assert all("it is in" in fault for fault in faults), faults
    run(log, where)
    assert chains_of(ArchiveStore(str(where))) == chains_of(log)
    run(log, folder / "once")
    assert files_of(where) == files_of(folder / "once"), (files_of(where).keys(), files_of(folder / "once").keys())
    assert not list(where.rglob("*.part"))

assert forked(lambda: run(first, folder / "before")) == 0
for last in itertools.count(1):
    where = folder / "archive"
    shutil.rmtree(where, ignore_errors=True)
    shutil.copytree(folder / "before", where)
    ended = forked(lambda: killed_at(last, then, where))
    assert ended in (0, signal.SIGKILL), ended
    assert forked(lambda: compare(where, then)) == 0, last
    if ended == 0:
        break
print(last)
"""


def test_a_build_that_is_killed_at_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    """Break: in exporters/archive/place.py, ``write``, write to the target itself; or remove no leftovers."""
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", BUILDS, str(tmp_path)], cwd=tests, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
