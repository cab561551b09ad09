"""The command line as users run it, and the fixtures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import zygote

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS.parent / "fixtures"


class Program:
    """The command line, in a folder and with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.db = folder / "calls.db"

    def run(self, *arguments: object, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k not in ("TURNLOG_DB", "TURNLOG_MASTER_KEY", "COLUMNS")}
        at_start = environment.keys() & zygote.AT_START
        own = {"XDG_DATA_HOME": str(self.folder / "data"), "XDG_CACHE_HOME": str(self.folder / "cache")}
        environment = clean | {"TURNLOG_DB": str(self.db)} | own | environment
        if at_start or sys.platform != "linux":
            done = _started([sys.executable, "-m", "turnlog", *map(str, arguments)], environment, self.folder)
        else:
            done = zygote.run(list(map(str, arguments)), environment, self.folder)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done

    def fails(self, *arguments: object, **environment: str) -> str:
        """The one line on standard error."""
        done = self.run(*arguments, code=1, **environment)
        assert done.stderr.startswith("turnlog: ")
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


def _started(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
