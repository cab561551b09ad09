"""Law 5: what was acknowledged is kept, whenever the process is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventstore import codec, open_store, recover

TIMES = int(os.environ.get("TURNLOG_KILLS", "50"))

# Prints the number of each call after it has returned, and the next does not begin before that is written.
AGENT = """
import os, sys
from turnlog import Recorder, open_store
recorder = Recorder(open_store(sys.argv[1]), "s", origin=sys.argv[2])
padding = "x" * int(sys.argv[3])
os.write(1, b"ready\\n")
n = 0
while True:
    recorder.add_error(padding, str(n))
    os.write(1, b"%d\\n" % n)
    n += 1
"""


@pytest.mark.parametrize("seed", range(4))
def test_law_5_every_call_that_returned_survives_kill_9(tmp_path: Path, seed: int) -> None:
    """Break: in eventstore/journal.py, ``Segment``, map the file privately (``mmap.MAP_PRIVATE``)."""
    chance = random.Random(seed)
    store = open_store(tmp_path / "calls.db")
    assert store.journal is not None
    acknowledged: dict[str, int] = {}
    for n in range(-(-TIMES // 4)):
        origin = f"process-{n}"
        padding = chance.choice(["0", "100", "20000"])
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, tmp_path / "calls.db", origin, padding], stdout=subprocess.PIPE
        )
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"ready\n"
        calls = chance.choice([1, 10, 500, 3000])
        heard = [agent.stdout.readline() for _ in range(chance.randint(1, calls))]
        agent.send_signal(signal.SIGKILL)
        rest = agent.stdout.read().splitlines()  # what it could still say is acknowledged too
        agent.wait()
        agent.stdout.close()
        whole = [line for line in [*(h.strip() for h in heard), *rest] if line]
        acknowledged[origin] = int(whole[-1])
        if chance.random() < 0.5:  # else the next process finds it
            recover(store, store.journal)
    recover(store, store.journal)
    found: dict[str, list[int]] = {}
    for event in store.read("s"):
        found.setdefault(event.origin, []).append(int(codec.decode(event)["message"]))
    for origin, last in acknowledged.items():
        kept = found[origin]
        assert kept[: last + 1] == list(range(last + 1)), origin
        assert len(kept) <= last + 2, "at most the call that was under way"
    store.close()
