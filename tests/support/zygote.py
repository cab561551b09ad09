"""Processes of the command line without the second that it takes to import it: forked from one that has.

A forked process is a real one: its environment, folder, streams and exit are its own. Only what an interpreter decides
as it starts (hash seed, encodings, options) is the parent's; who tests that starts an interpreter.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

AT_START = {"PYTHONHASHSEED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONPATH", "LC_ALL", "LANG", "TZ"}
"""Variables that an interpreter reads as it starts."""


def run(arguments: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """``turnlog`` with these arguments, to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        order = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        parent = _parent()
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = os.getpid()
        order["streams"] = [f"/proc/{pid}/fd/{stream.fileno()}" for stream in (out, err)]
        parent.stdin.write(json.dumps(order) + "\n")
        parent.stdin.flush()
        code = int(parent.stdout.readline())
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(arguments, code, *texts)


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """The process that has imported everything, and only ever forks."""
    started = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    atexit.register(started.kill)
    return started


def _serve() -> None:

    from turnlog.cli import commands

    for module in Path(commands.__path__[0]).glob("*.py"):
        __import__(f"turnlog.cli.commands.{module.stem}")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _become(order)
        _pid, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(order: dict[str, object]) -> None:
    """The program; never returns."""
    code = 70
    try:
        out, err = order["streams"]  # type: ignore[misc]
        for fd, path in ((0, os.devnull), (1, out), (2, err)):
            file = os.open(path, os.O_RDWR)
            os.dup2(file, fd)
            os.close(file)
        os.environ.clear()
        os.environ.update(order["environment"])  # type: ignore[call-overload]
        os.chdir(order["folder"])  # type: ignore[arg-type]
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
        sys.argv = ["turnlog", *order["arguments"]]  # type: ignore[misc]
        code = _main()
    finally:
        os._exit(code)


def _main() -> int:
    from turnlog.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
