"""Random bytes and damaged files: an error, never a crash, never half of something."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, codec, recover
from eventstore.errors import NewerEvent, TurnlogError, UnknownHook
from eventstore.recording import frames
from eventstore.recording.journal import SUFFIX
from eventstore.stores.memory import MemoryStore
from soak.fuzz import read_import
from support.examples import examples
from support.journals import frame, leave_behind
from support.program import FIXTURES
from turnlog.archive import log_seals
from turnlog.compare import digest_files as digests

DEMO = gzip.decompress((FIXTURES / "demo.jsonl.gz").read_bytes())
ZIPPED = (FIXTURES / "demo.jsonl.gz").read_bytes()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` with bytes changed, cut out, doubled, or put in."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(made) - 1)))
        size = draw(st.integers(0, 40))
        made[at : at + size] = draw(st.binary(max_size=40) | st.just(bytes(made[at : at + size]) * 2))
    return bytes(made)


@given(st.binary(max_size=400) | damaged(frame(0) + frame(1) + frame(2)))
def test_frames_of_any_bytes(data: bytes) -> None:
    for body in frames.bodies(data):
        assert frames.frame(body) in data


@settings(max_examples=examples(60))
@given(st.binary(max_size=300) | damaged(frame(0) + frame(1) + frame(2)))
def test_a_journal_of_any_bytes_is_recovered_up_to_the_damage(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    whole = [frames.decode(frames.body_of(frame(n))) for n in range(3)]
    leave_behind(folder, frame(0) + frame(1) + data)
    store = MemoryStore()
    recover(store, folder)
    found = list(store.read("s"))
    assert found[:2] == whole[:2]
    assert all(event in whole for event in found)


@settings(max_examples=examples(60))
@given(st.binary(max_size=300))
def test_a_journal_file_of_any_bytes_harms_nobody(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / f"x{SUFFIX}").write_bytes(data)
    leave_behind(folder, frame(0))
    store = MemoryStore()
    assert recover(store, folder) >= 1
    assert len(list(store.read("s"))) == 1


@given(
    st.text(max_size=30), st.integers(-1, 3), st.text(max_size=40) | st.sampled_from(["{}", '{"count":1}', "[]", "3"])
)
def test_the_codec_reads_or_refuses(hook: str, version: int, payload: str) -> None:
    event = Event("s", "o", 0, hook or "add_tts_characters", version, 1, 1, payload)
    try:
        codec.decode(event)
    except (UnknownHook, NewerEvent) as error:
        assert "\n" not in str(error)
    except (ValueError, KeyError):
        assert payload not in ("{}", '{"count":1}') or version < 1


@settings(max_examples=examples(100))
@given(st.binary(max_size=200) | damaged(DEMO) | damaged(ZIPPED))
def test_an_import_is_whole_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    read_import(data, tmp_path_factory.mktemp("fuzz"))


def test_a_whole_frame_of_something_else_is_kept_as_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leave_behind(tmp_path, frames.frame(b"\xff" * 100))
    assert recover(MemoryStore(), tmp_path) == 0
    assert "is damaged in 1 place" in caplog.text
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == frames.frame(b"\xff" * 100)


DEEP = ["[" * 5000, '{"a":' * 5000, '{"turnlog_log_seal":1,"a":' + "[" * 5000]


@pytest.mark.parametrize("text", [*DEEP, '{"turnlog_log_seal":1,"\udc80sessions":1}'])
def test_what_is_nested_too_deeply_or_no_text_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    """Break: let RecursionError escape from turnlog/compare/digest_files.py, ``_decode``, or archive/log_seals.py."""
    path = tmp_path / "file"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for load in (digests.load_digests, log_seals.load_seal):
        with pytest.raises(TurnlogError) as refusal:
            load(path)
        assert str(path) in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_a_log_seal_with_numbers_of_any_size_is_refused(tmp_path: Path) -> None:
    """Break: in turnlog/archive/log_seals.py, ``load_seal``, let OverflowError escape."""
    head = {"session_id": "s", "key": "none", "origins": [("o", 10**400, "0" * 64)]}
    about = {"turnlog_log_seal": 1, "sessions": 1, "events": 10**400, "seal": "0" * 64}
    path = tmp_path / "log.seal"
    path.write_text(json.dumps(about | {"heads": [head], "tombstones": []}))
    with pytest.raises(TurnlogError, match="is not a seal that this version of turnlog supports"):
        log_seals.load_seal(path)


@pytest.mark.parametrize("payload", DEEP)
def test_a_payload_that_is_nested_too_deeply_has_no_json_in_it(payload: str) -> None:
    """Break: in eventstore/codec.py, ``decode``, let RecursionError escape."""
    with pytest.raises(ValueError, match="event 0 of session 's' is not valid JSON"):
        codec.decode(Event("s", "o", 0, "set_llm_input", 1, 1, 1, payload))
