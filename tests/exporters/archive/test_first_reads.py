"""The first reads of a process, in several threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eventstore.stores.memory import MemoryStore
from support.archives import archived
from support.events import event

pytestmark = pytest.mark.slow

LISTS = """
import os, sys
from exporters.archive.store import ArchiveStore

sys.setswitchinterval(1e-6)
for attempt in range(40):
    child = os.fork()
    if not child:
        os._exit(len(list(ArchiveStore(sys.argv[1]).sessions())) != 40)
    assert os.waitpid(child, 0)[1] == 0, attempt
"""


def test_threads_that_read_the_first_files_of_a_process(tmp_path: Path) -> None:
    """Break: in exporters/archive/read.py, make the decoder of headings where a heading is decoded."""
    store = MemoryStore()
    store.append([event(0, session=f"s-{number}") for number in range(40)])
    archived(store, tmp_path / "archive", buckets=16)
    listing = [sys.executable, "-c", LISTS, str(tmp_path / "archive")]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
