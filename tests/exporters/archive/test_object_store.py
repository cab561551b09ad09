"""An archive in an object store: a real S3 server, on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from eventstore.errors import StoreError
from eventstore.stores.memory import MemoryStore
from exporters.archive.build import build, plan, remove
from exporters.archive.place import Place
from exporters.archive.store import ArchiveStore
from exporters.archive.verify import verify
from support.archives import archived, chains_of, s3_server
from support.events import event
from support.program import FIXTURES, Program
from support.recorded import RECORDED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        yield found


def uploads() -> list[Any]:
    return boto3.client("s3").list_multipart_uploads(Bucket="calls").get("Uploads", [])


def test_the_command_line_builds_verifies_and_imports(program: Program, url: str) -> None:
    """Break: in exporters/archive/place.py, ``_upload``, commit nothing."""
    where = f"{url}/cli"
    program.run("import", FIXTURES / "demo.jsonl.gz")
    assert "1 new session" in program.run("archive", "build", "--to", where).stdout
    assert "1 unchanged; 0 partitions written" in program.run("archive", "build", "--to", where).stdout
    assert "0 faults" in program.run("archive", "verify", where).stdout
    before = program.run("export", "jsonl", "--all").stdout
    program.run("import", where, "--db", program.folder / "restored.db")
    assert program.run("export", "jsonl", "--all", "--db", program.folder / "restored.db").stdout == before


def test_it_is_what_the_log_is(url: str) -> None:
    log = MemoryStore()
    for events in RECORDED.values():
        log.append(events)
    archived(log, f"{url}/recorded", 2)
    store = ArchiveStore(f"{url}/recorded")
    assert chains_of(store) == chains_of(log)
    assert store.sessions() == log.sessions()
    assert list(verify(store.place, store.partitions)) == []
    first = log.sessions()[0].session_id
    remove(store.place, first)
    assert first not in {session.session_id for session in ArchiveStore(f"{url}/recorded").sessions()}


def test_a_write_that_fails_leaves_what_was_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an upload in parts. Break: in place.py, ``_upload``, close instead of discarding."""
    place = Place(f"{url}/fails")
    with place.write("events/x") as file:
        file.write(b"before")
    copied = 0

    def copy(source: Any, target: Any, _size: int) -> None:
        nonlocal copied
        while chunk := source.read(1 << 20):
            copied += target.write(chunk)
            if copied > 60 << 20:  # a part is 50 MB
                raise OSError("the line is dead")

    monkeypatch.setattr("shutil.copyfileobj", copy)
    with pytest.raises(StoreError, match="the line is dead"), place.write("events/x") as file:
        file.write(bytes(70 << 20))
    assert place.source("events/x").read() == b"before"
    assert uploads() == []


def test_what_an_interrupted_upload_left_is_removed_by_the_next_build(url: str) -> None:
    """Break: in place.py, ``exclusive``, abort no uploads."""
    client = boto3.client("s3")
    client.create_multipart_upload(Bucket="calls", Key="archive/left/events/day=2026-03-01/bucket=00/events.parquet")
    client.create_multipart_upload(Bucket="calls", Key="elsewhere")
    place, log = Place(f"{url}/left"), MemoryStore()
    log.append([event(0)])
    with place.exclusive():
        build(log, place, plan(log, place, log.sessions()))
    assert [upload["Key"] for upload in uploads()] == ["elsewhere"]


def test_errors_are_one_line(program: Program, url: str) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    assert "no archive at s3://calls/none" in program.fails("archive", "verify", "s3://calls/none")
    assert "s3://missing/none" in program.fails("archive", "build", "--to", "s3://missing/none")
    closed = program.fails("archive", "build", "--to", url, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "127.0.0.1:9" in closed
