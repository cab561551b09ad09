"""Rotation of the master key while the log is in use, with interruptions; no session is ever without its key."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from eventstore import Event, Recorder, Store, open_store
from eventstore.errors import StoreError
from eventstore.integrity.session import verify
from eventstore.stores.encrypted import MasterKey, WrongMasterKey, forget, with_encryption
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import Key
from eventstore.stores.rotation import rotate
from support.examples import examples
from support.program import Program

OLD, NEW, THIRD = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
SAID = "my card number is 4111"


def transcript(session: str, seq: int = 0) -> Event:
    return Event(session, "o", seq, "set_user_transcript", 1, seq, seq, f'{{"transcript":"{SAID}"}}')


def rotated(store: Store, old: str = OLD, new: str = NEW, batch: int = 3):  # type: ignore[no-untyped-def]
    return rotate(store.ledger, [MasterKey(each) for each in old.split(",")], MasterKey(new), batch=batch)


def opens(store: Store, session: str, key: str) -> bool:
    """Whether that master key alone opens the session."""
    try:
        return SAID in next(with_encryption(store, key).read(session)).payload
    except WrongMasterKey:
        return False


def test_every_session_opens_with_the_new_key_and_not_the_old(store: Store) -> None:
    """Break: in eventstore/stores/rotation.py, wrap under the old key."""
    names = [f"session {n}" for n in range(10)]
    with_encryption(store, OLD).append(map(transcript, names))
    chains = [[origin for origin, _stored in store.chains(name)] for name in names]
    done = rotated(store)
    assert (done.rewrapped, done.kept, done.left) == (10, 0, [])
    assert all(opens(store, name, NEW) and not opens(store, name, OLD) for name in names)
    assert [[origin for origin, _stored in store.chains(name)] for name in names] == chains, "no event has changed"
    assert not [fault for name in names for fault in verify(store, name)]
    done = rotated(store)
    assert (done.rewrapped, done.kept, done.left) == (0, 10, []), "again changes nothing"


def test_destroyed_keys_stay_destroyed_and_foreign_ones_are_left(store: Store) -> None:
    """Break: in eventstore/stores/rotation.py, take keys of any fingerprint."""
    with_encryption(store, OLD).append([transcript("mine"), transcript("forgotten")])
    with_encryption(store, THIRD).append([transcript("theirs")])
    before = forget(store, "forgotten")
    store.ledger.add_key(Key("damaged", MasterKey(OLD).fingerprint, bytes(60)))
    done = rotated(store)
    assert (done.rewrapped, done.kept) == (1, 0)
    assert [left.session_id for left in done.left] == ["damaged", "theirs"]
    assert "damaged" in done.left[0].reason
    assert MasterKey(THIRD).fingerprint in done.left[1].reason
    assert store.ledger.key("forgotten") == before
    assert opens(store, "theirs", THIRD)


def test_a_key_forgotten_meanwhile_does_not_come_back(store: Store) -> None:
    """Break: in eventstore/stores/ledger.py, ``rewrap``, leave out what the key was."""
    with_encryption(store, OLD).append([transcript("s")])
    (key,) = store.ledger.keys()
    forget(store, "s")
    assert store.ledger.rewrap([(key, key._replace(master=MasterKey(NEW).fingerprint))]) == 0
    assert store.ledger.keys() == []


def test_several_keys_at_once(store: Store) -> None:
    """The first wraps, all unwrap. Break: in eventstore/stores/encrypted.py, look at the first only."""
    with_encryption(store, OLD).append([transcript("old")])
    with_encryption(store, NEW).append([transcript("new")])
    both = with_encryption(store, f"{NEW}, {OLD}")
    both.append([transcript("newest"), transcript("old", 1)])
    assert all(SAID in event.payload for name in ("old", "new", "newest") for event in both.read(name))
    assert opens(store, "newest", NEW)
    assert not opens(store, "newest", OLD)
    assert rotated(store, f"{NEW},{OLD}").rewrapped == 1
    with pytest.raises(StoreError, match="must be 32 bytes"):
        with_encryption(store, f"{NEW},")


def test_a_recorder_goes_on_through_a_rotation(tmp_path: Path) -> None:
    """It has the old key, and the session's key does not change."""
    store = open_store(tmp_path / "calls.db", master_key=OLD)
    with Recorder(store, "s") as recorder:
        recorder.set_user_transcript(SAID)
        assert recorder.flush()
        assert rotated(store).rewrapped == 1
        recorder.set_user_transcript(SAID)
        assert recorder.flush()
    store.close()
    store = open_store(tmp_path / "calls.db", master_key=NEW)
    assert [SAID in event.payload for event in store.read("s")] == [True, True]
    store.close()


def test_a_session_begun_meanwhile_under_the_old_key_is_named(store: Store) -> None:
    """Break: in eventstore/stores/rotation.py, leave out ``_begun_under_old_keys``."""
    with_encryption(store, OLD).append([transcript("b"), transcript("c")])
    late = with_encryption(store, OLD)
    done = rotate(
        store.ledger, [MasterKey(OLD)], MasterKey(NEW), lambda _keys: late.append([transcript("a")]) and None, batch=1
    )
    assert done.rewrapped == 2
    assert [(left.session_id, "rotate again" in left.reason) for left in done.left] == [("a", True)]
    assert rotated(store).left == []


def test_what_it_was_wrapped_as_is_gone_from_the_file(tmp_path: Path) -> None:
    """Also if the first rotation was killed before it scrubbed.

    Break: in eventstore/stores/rotation.py, leave out ``scrub``.
    """
    folder = tmp_path / "data"
    store = open_store(folder / "calls.db", master_key=OLD)
    store.append([transcript(f"session-{n}") for n in range(20)])
    pieces = [key.wrapped[at : at + 8] for key in store.ledger.keys(limit=20) if key.wrapped for at in range(0, 48, 8)]
    assert all(piece in bytes_of(folder) for piece in pieces)
    for key in store.ledger.keys()[:10]:
        assert key.wrapped
        new = MasterKey(NEW).wrap(key.session_id, MasterKey(OLD).unwrap(key.session_id, key.wrapped))
        store.ledger.rewrap([(key, key._replace(master=MasterKey(NEW).fingerprint, wrapped=new))])
    assert any(piece in bytes_of(folder) for piece in pieces), "in the write-ahead log"
    done = rotated(store)
    assert (done.rewrapped, done.kept) == (10, 10)
    assert not [piece for piece in pieces if piece in bytes_of(folder)]
    store.close()


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


REFUSED = [
    "UPDATE keys SET wrapped = :w",
    "UPDATE keys SET master = 'm', wrapped = :short",
    "UPDATE keys SET session_id = 't', master = 'm', wrapped = :w",
    "UPDATE keys SET master = 'm', wrapped = :w, forgotten_ns = 1",
    "DELETE FROM keys",
]
TURNED = "UPDATE keys SET master = 'm', wrapped = :w"


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_the_database_refuses_all_but_a_rotation(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Break: in the migration 0005, leave out ``OLD.wrapped IS NULL``, or the length."""
    url = f"sqlite:///{tmp_path}/calls.db" if backend == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url, migrate=True, master_key=OLD)
    store.append([transcript("s")])
    engine = create_engine(url)

    def run(statement: str) -> None:
        values = {name: value for name, value in (("w", bytes(60)), ("short", b"")) if f":{name}" in statement}
        with engine.begin() as connection:
            connection.execute(text(statement), values)

    for statement in REFUSED:
        with pytest.raises(DBAPIError, match="append-only"):
            run(statement)
    run(TURNED)
    forget(store, "s")
    for statement in (*REFUSED, TURNED):
        with pytest.raises(DBAPIError, match="append-only"):
            run(statement)
    engine.dispose()
    store.close()


ROTATE = """
import sys
from eventstore import open_store
from eventstore.stores.encrypted import MasterKey
from eventstore.stores.rotation import rotate
url, old, new = sys.argv[1:]
store = open_store(url)
print("ready", flush=True)
rotate(store.ledger, [MasterKey(old)], MasterKey(new), lambda _keys: print("batch", flush=True), batch=4)
print("done", flush=True)
"""
SESSIONS = 60


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_killed_at_any_point_and_run_again(
    backend: str, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in eventstore/stores/ledger.py, ``rewrap``, set ``master`` and ``wrapped`` in two transactions."""
    monkeypatch.delenv("TURNLOG_MASTER_KEY", raising=False)
    url = postgres_url if backend == "postgres" else f"sqlite:///{tmp_path}/calls.db"
    store = open_store(url, migrate=True, master_key="")
    names = [f"session {n}" for n in range(SESSIONS)]
    with_encryption(store, OLD).append(map(transcript, names))
    forget(store, "session 7")
    names.remove("session 7")
    under, other = OLD, NEW
    for batches in (0, 1, 3, 7, 14, 15):
        with subprocess.Popen(
            [sys.executable, "-c", ROTATE, url, under, other], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            ended = _killed_after(process, process.stdout, batches)
        now = [(opens(store, name, OLD), opens(store, name, NEW)) for name in names]
        assert all(old != new for old, new in now), "exactly one of both keys"
        assert not ended or rotated(store, under, other).rewrapped == 0
        done = rotated(store, under, other)
        assert done.left == []
        assert all(opens(store, name, other) for name in names)
        assert (store.ledger.key("session 7") or Key("", "", b"")).wrapped is None
        under, other = other, under
    store.close()


def _killed_after(process: subprocess.Popen[str], output: IO[str], batches: int) -> bool:
    """SIGKILL in the middle of the batch after ``batches``; returns whether the rotation had ended before."""
    for _batch in range(batches):
        if output.readline() == "done\n":
            return True
    process.kill()
    return "done\n" in output.read()


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["old", "new", "forget", "rotate", "back"]))))
def test_in_any_order(steps: list[tuple[str, str]]) -> None:
    """A session with content opens with exactly one key, unless it was forgotten; then permanently with none."""
    store = MemoryStore()
    both, forgotten, recorded = with_encryption(store, f"{OLD},{NEW}"), set(), set()
    for n, (session, step) in enumerate(steps):
        if step == "forget":
            if store.ledger.key(session):
                forget(store, session)
                forgotten.add(session)
        elif step in ("rotate", "back"):
            assert not rotated(store, *((OLD, NEW) if step == "rotate" else (NEW, OLD))).left
        else:
            (with_encryption(store, f"{NEW},{OLD}") if step == "new" else both).append([transcript(session, n)])
            recorded.add(session)
        for name in recorded - forgotten:
            assert opens(store, name, OLD) != opens(store, name, NEW)
        assert {key.session_id for key in store.ledger.keys(after="")} == recorded - forgotten


def test_the_command(program: Program, tmp_path: Path) -> None:
    store = open_store(program.db, master_key=OLD)
    store.append([transcript("a"), transcript("b")])
    store.close()
    store = open_store(program.db, master_key=THIRD)
    store.append([transcript("theirs")])
    store.close()
    old, new = tmp_path / "old.key", tmp_path / "new.key"
    old.write_text(OLD + "\n")
    new.write_text(NEW + "\n")
    assert "set TURNLOG_MASTER_KEY or pass --old-key-file FILE" in program.fails("keys", "rotate")
    assert "set TURNLOG_NEW_MASTER_KEY" in program.fails("keys", "rotate", TURNLOG_MASTER_KEY=OLD)
    assert "cannot read" in program.fails("keys", "rotate", "--old-key-file", tmp_path / "none")
    nonsense = program.fails("keys", "rotate", TURNLOG_MASTER_KEY=OLD, TURNLOG_NEW_MASTER_KEY="nonsense")
    assert "TURNLOG_NEW_MASTER_KEY must be 32 bytes" in nonsense
    done = program.run("keys", "rotate", "--old-key-file", old, "--new-key-file", new, code=1)
    assert "2 sessions" in done.stdout
    assert "theirs: wrapped under a different master key" in done.stderr
    done = program.run("keys", "rotate", TURNLOG_MASTER_KEY=f"{OLD},{THIRD}", TURNLOG_NEW_MASTER_KEY=NEW)
    assert "1 session " in done.stdout
    assert "2 already were" in done.stdout
    for secret in (OLD, NEW, THIRD):
        assert secret not in done.stdout + done.stderr
    again = program.run("keys", "rotate", "--json", TURNLOG_MASTER_KEY=OLD, TURNLOG_NEW_MASTER_KEY=NEW)
    found = orjson.loads(again.stdout)
    assert (found["rewrapped"], found["kept"], found["left"]) == (0, 3, [])
    assert SAID in program.run("events", "theirs", "--json", TURNLOG_MASTER_KEY=NEW).stdout
    assert os.fspath(new) not in program.run("keys", "rotate", "--help").stdout
