"""What runs in a process of its own: the reference in its environment, and a replay whose memory is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "differential"))


def reference(what: str, *arguments: object) -> dict[str, float]:
    return _run(_reference_python(), "reference_side.py", what, *arguments)


def turnlog(what: str, *arguments: object) -> dict[str, float]:
    return _run(Path(sys.executable), "turnlog_side.py", what, *arguments)


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
