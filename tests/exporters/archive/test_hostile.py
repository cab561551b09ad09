"""Files that no build wrote: import and verify refuse them with one line, and with bounded memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from eventstore.stores.chain import Origin
from eventstore.stores.memory import MemoryStore
from exporters.archive.layout import METADATA, BadArchive, Entry, Heading, Partition
from exporters.archive.place import Place
from exporters.archive.restore import check_partition
from exporters.archive.verify import verify
from exporters.archive.write import SCHEMA
from support.archives import archived
from support.events import event
from support.program import Program


def file_of(folder: Path) -> Path:
    """The file of an archive with one session of three events, whose second has no recorder's ``seq``."""
    log = MemoryStore()
    log.append(event(n) for n in range(3))
    archived(log, folder, 1)
    (path,) = folder.rglob("*.parquet")
    return path


def rewritten(path: Path, change: Callable[[pyarrow.Table, Heading], tuple[pyarrow.Table, Any]]) -> None:
    """Replace the file's rows and metadata."""
    table = pyarrow.parquet.read_table(path)
    heading = msgspec.json.decode(table.schema.metadata[METADATA], type=Heading)
    table, changed = change(table, heading)
    encoded = changed if isinstance(changed, bytes) else msgspec.json.encode(changed)
    pyarrow.parquet.write_table(table.replace_schema_metadata({METADATA: encoded}), path)


def column(name: str, values: Any, type_: Any = None) -> Callable[[pyarrow.Table, Heading], Any]:
    def change(table: pyarrow.Table, heading: Heading) -> Any:
        at = table.column_names.index(name)
        field = pyarrow.field(name, type_ or SCHEMA.field(name).type, nullable=None in values)
        return table.set_column(at, field, pyarrow.array(values, field.type)), heading

    return change


def entry(**changes: Any) -> Callable[[pyarrow.Table, Heading], Any]:
    def change(table: pyarrow.Table, heading: Heading) -> Any:
        first = msgspec.structs.replace(heading.sessions[0], **changes)
        return table, msgspec.structs.replace(heading, sessions=[first, *heading.sessions[1:]])

    return change


CHANGED: dict[str, tuple[Callable[[pyarrow.Table, Heading], Any], str]] = {
    "a missing column": (lambda t, h: (t.drop_columns("payload"), h), "lacks the column 'payload'"),
    "an unknown column": (lambda t, h: (t.append_column("x", [[1, 2, 3]]), h), "its columns are"),
    "a column of text as seq": (column("seq", ["0", "1", "2"], pyarrow.string()), "column 'seq' is string"),
    "a missing value": (column("payload", ["{}", None, "{}"]), "column 'payload' may lack values"),
    "a negative seq": (column("seq", [0, -1, 2]), "seq is out of range"),
    "a number twice": (column("seq", [0, 1, 1]), "duplicate event 1"),
    "a huge version": (column("version", [1, 2**62, 1]), "has no version"),
    "an unknown hook": (column("hook", ["on_eou_start", "x" * 10**6, "on_eou_start"]), "unknown hook"),
    "a payload that is no JSON": (column("payload", ["{}", "{", "{}"]), "cannot be stored as JSON"),
    "a changed payload": (column("payload", ["{}", "{ }", "{}"]), "not those that were archived"),
    "a changed time": (column("wall_ns", [10**18, 10**18 + 5, 10**18 + 2]), "not those that were archived"),
    "rows of a different session": (column("session_id", ["s", "t", "s"]), "not where the metadata says"),
    "no metadata": (lambda t, h: (t, b""), "metadata cannot be read"),
    "metadata that is no object": (lambda t, h: (t, b"[" * 10**5), "metadata cannot be read"),
    "metadata of a newer format": (lambda t, h: (t, msgspec.structs.replace(h, archive=2)), "has format 2"),
    "fewer rows than the metadata": (lambda t, h: (t.slice(0, 2), h), "does not fit its 2 rows"),
    "no session": (lambda t, h: (t, msgspec.structs.replace(h, sessions=[])), "does not fit its 3 rows"),
    "a session twice": (lambda t, h: (t, msgspec.structs.replace(h, sessions=h.sessions * 2)), "does not fit"),
    "a seal of something else": (entry(seal="0" * 64), "the seal differs"),
    "heads that are not hexadecimal": (
        lambda t, h: (t, msgspec.json.encode(h).replace(h.sessions[0].origins[0].link.encode(), b"x" * 64)),
        "metadata cannot be read",
    ),
    "a session without a name": (
        lambda t, h: entry(session_id="")(column("session_id", [""] * 3)(t, h)[0], h),
        "the session id is empty",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    """Break: in exporters/archive/restore.py, do not admit."""
    change, message = CHANGED[name]
    rewritten(file_of(tmp_path), change)
    place = Place(str(tmp_path))
    (partition,) = place.partitions()
    with pytest.raises(BadArchive) as caught:
        check_partition(place, partition)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert len(text) < 1000


VERIFIED = [name for name in CHANGED if name not in ("a huge version", "an unknown hook", "a payload that is no JSON")]


@pytest.mark.parametrize("name", VERIFIED)
def test_verify_names_the_file_and_the_session(tmp_path: Path, name: str) -> None:
    """Break: in exporters/archive/read.py, ``_linked``, raise nothing."""
    path = file_of(tmp_path)
    rewritten(path, CHANGED[name][0])
    place = Place(str(tmp_path))
    faults = list(verify(place, place.partitions()))
    assert faults
    assert {fault.file for fault in faults} == {str(path)}
    assert all(fault.session_id in (None, "s", "") for fault in faults)


def test_a_file_in_the_wrong_partition_is_a_fault(tmp_path: Path) -> None:
    """Break: in exporters/archive/verify.py, do not compare partitions."""
    path = file_of(tmp_path)
    other = tmp_path / Partition("2020-01-01", 0).path("events")
    other.parent.mkdir(parents=True)
    path.rename(other)
    place = Place(str(tmp_path))
    messages = [fault.message for fault in verify(place, place.partitions())]
    assert any("says that it is of day 2001-09-09" in message for message in messages)
    assert any("it belongs to day 2001-09-09" in message for message in messages)


def test_times_that_are_not_those_of_the_events_are_a_fault(tmp_path: Path) -> None:
    rewritten(file_of(tmp_path), entry(ended_ns=5))
    place = Place(str(tmp_path))
    (fault,) = verify(place, place.partitions())
    assert "its times are not those of its events" in fault.message


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + os.urandom(500) + b"PAR1", b"SQLite format 3\0" * 20])
def test_what_is_not_parquet_is_refused(program: Program, content: bytes) -> None:
    path = file_of(program.folder / "archive")
    path.write_bytes(content)
    assert "cannot be read" in program.fails("import", program.folder / "archive")
    done = program.run("archive", "verify", program.folder / "archive", code=1)
    assert "cannot be read" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """A flipped byte anywhere: the events are those that were archived, or the file is refused."""
    path = file_of(tmp_path)
    good = path.read_bytes()
    place = Place(str(tmp_path))
    (partition,) = place.partitions()
    refused = 0
    for at in range(4, len(good) - 4, 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        try:
            check_partition(place, partition)
        except BadArchive as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50


def bomb(path: Path) -> None:
    """A small file that claims terabytes: one long text in a dictionary, and many rows."""
    rows, text = 200_000, '{"x":"' + "a" * (32 << 20) + '"}'
    entry_ = Entry.of("s", 0, rows - 1, [Origin("s", "o", rows, b"x" * 32)])
    metadata = {METADATA: msgspec.json.encode(Heading(1, "1970-01-01", 0, 1, [entry_]))}
    names = [pyarrow.array([name] * rows) for name in ("s", "o", "on_eou_start")]
    seqs, version = pyarrow.array(range(rows), pyarrow.int64()), pyarrow.array([1] * rows, pyarrow.int64())
    payload = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int32()), [text])
    fields = [*list(SCHEMA)[:-1], pyarrow.field("payload", payload.type, nullable=False)]
    columns = [names[0], names[1], seqs, names[2], version, seqs, seqs, payload]
    table = pyarrow.table(columns, schema=pyarrow.schema(fields))
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table, rows)
        writer.add_key_value_metadata(metadata)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_memory_is_bounded(program: Program) -> None:
    """Break: in exporters/archive/restore.py, limit no memory."""
    path = program.folder / "archive" / Partition("1970-01-01", 0).path("events")
    path.parent.mkdir(parents=True)
    bomb(path)
    assert path.stat().st_size < 2 << 20
    assert "bucket=00/events.parquet cannot be" in program.fails("import", program.folder / "archive")
    assert program.run("sessions", "--json").stdout.strip() == "[]"
