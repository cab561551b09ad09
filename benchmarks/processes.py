"""Subprocesses: the reference in its own environment, and a replay whose memory is measured."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "differential"))


def reference(what: str, *arguments: object) -> dict[str, float]:
    return _run(_reference_python(), "reference_side.py", what, *arguments)


def turnlog(what: str, *arguments: object) -> dict[str, float]:
    return _run(Path(sys.executable), "turnlog_side.py", what, *arguments)


def session(database: str, name: str) -> dict[str, float]:
    return _run(Path(sys.executable), "turnlog_side.py", "session", database, name)


class Used(NamedTuple):
    """Time that passed, processor time of all processes of a command, and peak memory of the largest."""

    seconds: float
    processor_seconds: float
    megabytes: float


PR_SET_CHILD_SUBREAPER = 36


def command(*arguments: str) -> Used:
    """Run a ``turnlog`` command to its end."""
    if sys.platform == "linux":  # worker processes outlive it by a moment: with this they become ours, to be counted
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "turnlog", *arguments], stdout=subprocess.DEVNULL) as process:
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds, ended = time.perf_counter() - start, [used]
    if process.returncode:
        raise SystemExit(f"turnlog {' '.join(arguments)} failed")
    with contextlib.suppress(ChildProcessError):
        while True:
            ended.append(os.wait4(-1, 0)[2])
    peak = max(used.ru_maxrss for used in ended) / (2**20 if sys.platform == "darwin" else 1024)
    return Used(seconds, sum(used.ru_utime + used.ru_stime for used in ended), peak)


@cache
def _reference_python() -> Path:
    from differential import reference_python

    python = reference_python()
    if python is None:
        raise SystemExit("the reference could not be installed here, and a figure alone says nothing")
    return python


def _run(python: Path, script: str, *arguments: object) -> dict[str, float]:
    done = subprocess.run([python, HERE / script, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])  # the reference prints its errors, too
    return found
