"""Import of untrusted files: archives are checked like recordings, and imported entirely or not at all."""

from __future__ import annotations

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, Recorder
from eventstore.admission import ID_BYTES, Inadmissible, admissible_id, admit
from eventstore.errors import TurnlogError
from eventstore.stores.chain import Origin, genesis, link, seal
from eventstore.stores.memory import MemoryStore
from exporters.files.jsonl import session_heading
from projections import replay
from support.examples import examples
from support.program import FIXTURES, Program
from support.strategies import Evil
from turnlog import recordings
from turnlog.archive import files as archive
from turnlog.archive.retention import retire
from turnlog.recordings import BadRecording, events_of, read_recordings

_CALLS = orjson.loads(gzip.decompress((FIXTURES / "demo.jsonl.gz").read_bytes()))["calls"]
DEMO = orjson.dumps({"name": "barge_in_vad", "calls": _CALLS[:60]})
LOG = '{"level":"INFO","logger":"l","message":"m","created":%s,"attributes":null}'


def forged(**changed: Any) -> bytes:
    """An archive of one event whose links and seal hold."""
    fields = {"session_id": "s", "origin": "o", "seq": 0, "hook": "on_llm_start", "version": 1}
    event = Event(**({**fields, "perf_ns": 1, "wall_ns": 1, "payload": "{}"} | changed))
    last = link(genesis(event.session_id, event.origin), event)
    names = {name: getattr(event, name) for name in (*fields, "perf_ns", "wall_ns", "payload")}
    sealed = seal([Origin(event.session_id, event.origin, 1, last)])
    head = {"turnlog": "session", "format": 1, "session_id": event.session_id, "events": 1, "seal": sealed}
    return orjson.dumps(head) + b"\n" + orjson.dumps({**names, "link": last.hex()}) + b"\n"


HOSTILE: dict[str, dict[str, Any]] = {
    "version 2**63": {"version": 2**63}, "version 0": {"version": 0}, "version of tomorrow": {"version": 99},
    "seq -5": {"seq": -5}, "seq 2**64-1": {"seq": 2**64 - 1}, "perf": {"perf_ns": 2**63}, "wall": {"wall_ns": 2**63},
    "no json": {"payload": "not json"}, "empty": {"payload": ""}, "list": {"payload": "[1]"},
    "null": {"payload": "null"},
    "deep": {"payload": '{"a":' + "[" * 2000 + "]" * 2000 + "}"}, "big integer": {"payload": f'{{"a":{2**70}}}'},
    "longer integer": {"payload": '{"a":' + "9" * 5000 + "}"}, "surrogate": {"payload": '{"a":"\\ud800"}'},
    "unknown argument": {"payload": '{"a":1}'}, "missing": {"hook": "set_user_transcript"}, "hook": {"hook": "zzz"},
    "no session": {"session_id": ""}, "no origin": {"origin": ""}, "NUL": {"session_id": "x\0y"},
    "ESC": {"origin": "o\x1b[2J"}, "bidi": {"session_id": "x\u202etxt"}, "long": {"session_id": "é" * 128},
    "happened text": {"payload": '{"$happened_ns":"x"}'}, "happened huge": {"payload": '{"$happened_ns":1e308}'},
    "happened true": {"payload": '{"$happened_ns":true}'}, "sealed number": {"payload": '{"$sealed":1}'},
    "created huge": {"hook": "log_record", "payload": LOG % "1e300"},
    "created text": {"hook": "log_record", "payload": LOG % '"x"'},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_forged_archive_is_refused(tmp_path: Path, name: str) -> None:
    """Break: in turnlog/archive/files.py, ``_Chain.add``, do not ``admit``."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(forged(**HOSTILE[name]))
    with pytest.raises(BadRecording, match="a.jsonl:2"):
        list(archive.read_archive(path))


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"session_id": "é" * 127}, {"seq": 2**63 - 1}, {"wall_ns": -(2**63)}, {"perf_ns": 2**63 - 1},
        {"hook": "set_user_transcript", "payload": '{"$sealed":"xx","transcript":"[sealed]"}'},
        {"hook": "set_user_transcript", "payload": '{"$sealed":""}'},
        {"payload": '{"$happened_ns":5,"$raw":{"a":1}}'}, {"hook": "log_record", "payload": LOG % "1.5"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_recorder_may_write_is_taken_to_the_byte(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(forged(**changed))
    ((_place, (event,)),) = archive.read_archive(path)
    assert all(getattr(event, name) == value for name, value in changed.items())


def test_a_recording_is_checked_likewise(tmp_path: Path) -> None:
    call = {"target": "collector", "hook": "on_eou_start", "perf_ns": 1, "wall_ns": 1}
    for recording in (
        {"name": "x\x1b[2J", "calls": [call]},
        {"name": "x" * (ID_BYTES + 1), "calls": [call]},
        {"name": "x", "calls": [call | {"perf_ns": 2**63}]},
        {"name": "x", "calls": [call | {"hook": "log_record", "args": orjson.loads(LOG % "1e300")}]},
    ):
        path = tmp_path / "r.jsonl"
        path.write_bytes(orjson.dumps(recording))
        with pytest.raises(BadRecording, match="r.jsonl:1"):
            [events_of(*each) for each in read_recordings(path)]


def test_an_event_stands_once_and_in_its_own_session(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    head, line = forged().splitlines(keepends=True)
    path.write_bytes(head + line + line)
    with pytest.raises(BadRecording):
        list(archive.read_archive(path))
    path.write_bytes(head.replace(b'"session_id":"s"', b'"session_id":"t"') + line)
    with pytest.raises(BadRecording, match="in session 't'"):
        list(archive.read_archive(path))


def test_what_this_log_has_removed_comes_back_whatever_it_is(tmp_path: Path) -> None:
    """Sessions recorded before the limit existed are not accepted by a different log."""
    store = MemoryStore()
    name = "x\x1b" * 500
    event = Event(name, "o", 0, "of another time", 7, 1, 1, "[1]")
    store.append([event])
    (removal,) = retire(store, store.sessions(), tmp_path)
    with pytest.raises(BadRecording, match="control character"):
        list(archive.read_archive(Path(removal.archive)))
    ((_place, events),) = archive.read_archive(Path(removal.archive), seals={r.seal for r in store.ledger.tombstones()})
    assert events == [event]


@pytest.mark.slow
@pytest.mark.parametrize("before", [b'{"name":"', b'{"turnlog":"session","x":"', b""])
def test_a_bomb_is_refused_in_bounded_memory(program: Program, before: bytes) -> None:
    """Break: in turnlog/recordings.py, ``file_lines``, read whole lines."""
    path = program.folder / "bomb.jsonl.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(before)
        for _ in range(1024):
            file.write(b"A" * (1 << 20))
    import_ = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "sys.argv = ['turnlog', 'import', sys.argv[1]]; from turnlog.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", import_, path], capture_output=True, text=True, check=False, cwd=program.folder,
        env={"TURNLOG_DB": str(program.db), "PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "bomb.jsonl.gz:1: the line is longer than 32 MiB" in done.stderr
    assert resource.RLIMIT_AS is not None


def test_many_wrong_calls_in_a_line_are_one_error(tmp_path: Path) -> None:
    """Break: in turnlog/recordings.py, ``Recording``, leave out ``FailFast``."""
    path = tmp_path / "calls.jsonl"
    path.write_bytes(b'{"name":"x","calls":[' + b"{}," * 100_000 + b"{}]}")
    with pytest.raises(BadRecording, match=r"calls\.0") as found:
        list(read_recordings(path))
    assert len(found.value.__cause__.errors()) <= 5  # type: ignore[union-attr]


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """JSON lines with mutated values, keys or bytes."""
    lines = data.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    line = orjson.loads(lines[number])
    value = draw(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9) | st.just([]) | st.just({})
    )
    places = [line, *(line.get("calls") or [])]
    target = places[draw(st.integers(0, len(places) - 1))]
    key = draw(st.sampled_from(sorted(target)) | st.text(max_size=4))
    target[key] = value
    lines[number] = orjson.dumps(line)
    return b"\n".join(lines)


def archived(folder: Path) -> bytes:
    store = MemoryStore()
    path = folder / "demo.jsonl"
    path.write_bytes(DEMO)
    for each in read_recordings(path):
        store.append(events_of(*each)[:40])
    return gzip.decompress(archive.write_archive(store, session_heading(store, "barge_in_vad"), folder).read_bytes())


@settings(max_examples=examples(60))
@given(st.data())
def test_a_mutated_file_is_taken_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    whole = data.draw(st.sampled_from([DEMO, archived(folder)]))
    path = folder / "file.jsonl"
    path.write_bytes(data.draw(mutated(whole)))
    try:
        if archive.is_archive(path):
            found = [events for _place, events in archive.read_archive(path)]
        else:
            found = [events_of(*each) for each in read_recordings(path)]
    except BadRecording as error:
        assert "file.jsonl" in str(error)
        return
    for events in filter(None, found):
        store = MemoryStore()
        store.append(events)
        try:
            replay(store.read(events[0].session_id))
        except TurnlogError as error:
            assert "\n" not in str(error)


def test_the_bound_of_a_line_is_the_line_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_LINE_BYTES", 100)
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 101 + b"\n")
    lines = recordings.file_lines(path, lambda path: path.open("rb"))
    assert next(lines) == (f"{path}:1", b"x" * 99 + b"\n")
    with pytest.raises(BadRecording, match="f.jsonl:2: the line is longer"):
        next(lines)


def test_ids() -> None:
    event = Event("s", "o", 0, "on_llm_start", 1, 1, 1, "{}")
    admit(event)
    for name in ("\x00", "\x7f", "\x85", "\u2028", "\u202e", "\u200f", "\ud800"):
        with pytest.raises(Inadmissible, match="control character"):
            admit(Event(f"a{name}b", "o", 0, "on_llm_start", 1, 1, 1, "{}"))


NAMES = (
    st.text() | st.text(st.characters(), min_size=200, max_size=300) | st.sampled_from(["a\nb", "a\x00", "é" * 5000])
)


@given(NAMES, NAMES)
@settings(max_examples=examples(100))
def test_what_a_recorder_names_may_be_imported(one: str, two: str) -> None:
    """Break: in eventstore/admission.py, ``admissible_id``, return the name as it is; or leave out the digest."""
    store = MemoryStore()
    with Recorder(store, one, origin=two, durability="memory") as recorder:
        recorder.on_llm_start()
    (event,) = store.read(recorder.session_id)
    admit(event)
    assert (admissible_id(one) == admissible_id(two)) == (one == two)


class EvilFloat(float):
    def __lt__(self, _other: object) -> bool:
        raise RuntimeError("no order")

    __gt__ = __float__ = __lt__  # type: ignore[assignment]


def test_a_log_record_without_a_valid_time_was_made_now() -> None:
    """It never raises. Break: in eventstore/hooks/own.py, ``is_time``, ask ``isinstance``; or return True."""
    for created in (Evil(), EvilFloat(1.0), float("nan"), 1e300, 2**70, "x", True):
        store = MemoryStore()
        with Recorder(store, "s", durability="memory") as recorder:
            recorder.log_record("INFO", "agent", "hello", created)  # type: ignore[arg-type]
        (event,) = store.read("s")
        admit(event)
        assert orjson.loads(event.payload)["created"] is None


def test_two_long_names_with_one_beginning_stay_two_sessions(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    for end in "ab":
        with Recorder(store, "x" * 300 + end, durability="memory") as recorder:
            recorder.on_llm_start()
    assert len(store.sessions()) == 2
    assert "this session id is too long or has control characters; it is recorded as xxx" in caplog.text


def test_names_without_need_stay_as_they_are() -> None:
    for name in ("room-1", "x" * ID_BYTES, "会話 / é"):
        assert admissible_id(name) == name
