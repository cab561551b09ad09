"""Seals, and the commands that check a log."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from eventstore import Store
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import Tombstone
from support.events import event
from support.program import FIXTURES, Program
from turnlog.archive import log_seals, seals

DIGEST = "a35990a52f1ed51991fafb53b07af8018d84ad8b2a2513b587e734b5f8f0b9e0"


def key_pair(folder: Path, kind: type = Ed25519PrivateKey) -> tuple[Path, Path]:
    key = kind.generate()
    private, public = folder / f"{kind.__name__}.pem", folder / f"{kind.__name__}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_session_may_grow_but_not_change_after_it_was_sealed(store: Store, tmp_path: Path) -> None:
    store.append([event(n) for n in range(5)] + [event(0, origin="p")])
    sealed = seals.seal_session(store, "s")
    (tmp_path / "seal").write_text(sealed.model_dump_json())
    assert seals.load_session_seal(tmp_path / "seal") == sealed
    store.append([event(5), event(1, origin="p"), event(0, origin="q")])
    assert seals.check_session_seal(store, sealed) == []
    assert seals.seal_session(store, "s").seal != sealed.seal


def test_a_chain_that_was_built_anew_is_found_by_its_seal(store: Store) -> None:
    """The forger has redone every link; only what was kept elsewhere shows it."""
    store.append([event(n) for n in range(5)])
    sealed = seals.seal_session(store, "s")
    forged = MemoryStore()
    forged.append([event(n, payload='{"a":1}' if n == 2 else "{}") for n in range(5)])
    (fault,) = seals.check_session_seal(forged, sealed)
    assert (fault.kind, fault.message) == ("changed", "session 's', origin 'o': was rebuilt since it was sealed")
    shorter = MemoryStore()
    shorter.append([event(n) for n in range(4)])
    (fault,) = seals.check_session_seal(shorter, sealed)
    assert fault.kind == "removed"


def test_signatures(store: Store, tmp_path: Path) -> None:
    store.append([event(0)])
    private, public = key_pair(tmp_path)
    signed = seals.seal_session(store, "s", private)
    file = tmp_path / "seal"
    file.write_text(signed.model_dump_json())
    assert seals.load_session_seal(file, public) == signed
    (tmp_path / "other").mkdir()
    _private, stranger = key_pair(tmp_path / "other")
    with pytest.raises(seals.BadSeal, match="not signed with the private key of"):
        seals.load_session_seal(file, stranger)
    file.write_text(seals.seal_session(store, "s").model_dump_json())
    with pytest.raises(seals.BadSeal, match="is not signed"):
        seals.load_session_seal(file, public)
    wrong, _public = key_pair(tmp_path, X25519PrivateKey)
    for path, message in (
        (wrong, "not an Ed25519 key"),
        (public, "not a private key"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(seals.BadSeal, match=message):
            seals.seal_session(store, "s", path)


def test_openssl_accepts_our_signature(store: Store, tmp_path: Path) -> None:
    """A seal can be checked without turnlog."""
    import base64

    store.append([event(0)])
    private, public = key_pair(tmp_path)
    signed = seals.seal_session(store, "s", private)
    assert signed.signature is not None
    (tmp_path / "text").write_text(f"turnlog seal 1:{signed.seal}")
    (tmp_path / "signature").write_bytes(base64.b64decode(signed.signature))
    try:
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", tmp_path / "text",
             "-sigfile", tmp_path / "signature"],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no openssl here")
    assert done.returncode == 0, done.stderr


def test_a_seal_that_was_edited(store: Store, tmp_path: Path) -> None:
    store.append([event(0)])
    sealed = seals.seal_session(store, "s")
    file = tmp_path / "seal"
    for content in (
        sealed.model_copy(update={"session_id": "t"}).model_dump_json(),
        sealed.model_dump_json().replace('"events":1', '"events":2'),
        "{}",
        "not json",
        sealed.model_dump_json().replace('"link":"', '"link":"zz'),
    ):
        file.write_text(content)
        with pytest.raises(seals.BadSeal):
            seals.load_session_seal(file)
    with pytest.raises(seals.BadSeal, match="No such file"):
        seals.load_session_seal(tmp_path / "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("events", [10**400, 2**63, -1], ids=["400 digits", "2**63", "negative"])
def test_a_count_that_no_log_can_have_is_refused(tmp_path: Path, events: int) -> None:
    """Found by fuzzing. Break: in turnlog/archive/seals.py, ``SealedOrigin``, leave out a bound."""
    origin = {"origin": "o", "events": events, "link": "0" * 64}
    text = json.dumps({"turnlog_seal": 1, "session_id": "s", "events": 1, "seal": "0" * 64, "origins": [origin]})
    with pytest.raises(seals.BadSeal, match="is not a seal"):
        seals.parse_seal(tmp_path / "seal", text.encode())


def test_the_commands(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    assert "all hash chains valid" in program.run("verify").stdout
    assert "1 session, 172 events: all hash chains valid" in program.run("verify", "barge_in_vad").stdout
    private, public = key_pair(program.folder)
    (program.folder / "s.seal").write_text(program.run("seal", "barge_in_vad", "--key", private).stdout)
    program.run("verify", "--seal", "s.seal", "--public-key", public)
    assert "is a seal of session 'barge_in_vad'" in program.fails("verify", "another", "--seal", "s.seal")
    with sqlite3.connect(program.db) as meddler:
        meddler.execute("DROP TRIGGER events_no_update")
        meddler.execute(
            "UPDATE events SET wall_ns = 1 WHERE seq = 17 AND origin_id = "
            "(SELECT id FROM origins WHERE session_id = 'barge_in_vad')"
        )
    meddler.close()
    shown = program.run("verify", code=1).stdout
    assert "changed: session 'barge_in_vad', origin 'import': event 17 (" in shown
    assert shown.endswith(", 2 faults\n")
    found = orjson.loads(program.run("verify", "--json", code=1).stdout)
    assert [(fault["kind"], fault["seq"]) for fault in found["faults"]] == [("changed", 17), ("schema", None)]
    assert "did you mean 'barge_in_vad'" in program.fails("verify", "barge_in_va")
    assert "not an Ed25519 key" in program.fails(
        "seal", "barge_in_vad", "--key", key_pair(program.folder, X25519PrivateKey)[0]
    )


# of a whole log -----------------------------------------------------------------------------------------------------


def retire(store: Store, session_id: str) -> None:
    from eventstore.stores.chain import seal

    origins = [origin for origin, _stored in store.chains(session_id)]
    events = sum(origin.events for origin in origins)
    store.ledger.remove(Tombstone(session_id, events, 1, 2, seal(origins), "archive/it", 3))


def kept(sealed: log_seals.LogSeal, path: Path, public: Path | None = None) -> log_seals.LogSeal | seals.Seal:
    with path.open("wb") as file:
        log_seals.write_log_seal(sealed, file)
    return log_seals.load_seal(path, public)


def test_a_log_may_grow_but_not_shrink_after_it_was_sealed(store: Store, tmp_path: Path) -> None:
    for name in ("s-1", "s-2", "s-3", "s-4"):
        store.append([event(n, session=name) for n in range(5)])
    retire(store, "s-4")
    sealed = log_seals.seal_log(store)
    assert kept(sealed, tmp_path / "seal") == sealed
    assert (sealed.sessions, sealed.events, [t.session_id for t in sealed.tombstones]) == (3, 15, ["s-4"])
    store.append([event(5, session="s-1"), event(0, session="s-5")])
    retire(store, "s-2")
    store.append([event(5, session="s-3")])
    retire(store, "s-3")
    faults, since = log_seals.check_log_seal(store, sealed)
    assert faults == []
    assert (since.new, since.grown, [t.session_id for t in since.removed]) == (["s-5"], ["s-1"], ["s-2", "s-3"])
    assert log_seals.seal_log(store).seal != sealed.seal


def test_a_session_that_came_back_and_was_rebuilt_is_not_excused_by_its_tombstone(store: Store) -> None:
    """Break: in turnlog/archive/log_seals.py, ``_check_removal``, let a matching tombstone excuse any fault."""
    store.append([event(n) for n in range(5)])
    sealed = log_seals.seal_log(store)
    retire(store, "s")
    store.append([event(n, payload='{"forged":1}') for n in range(5)])
    ((fault,), since) = log_seals.check_log_seal(store, sealed)
    assert (fault.kind, since.removed) == ("changed", [])


def test_a_key_that_was_forgotten_stays_forgotten(store: Store) -> None:
    from eventstore.stores.records import Key

    store.append([event(0)])
    store.ledger.add_key(Key("s", "m", b"k" * 60))
    sealed = log_seals.seal_log(store)
    store.ledger.destroy_key("s", 5)
    forgotten = log_seals.seal_log(store)
    faults, since = log_seals.check_log_seal(store, sealed)
    assert (faults, since.forgotten) == ([], ["s"])
    assert log_seals.check_log_seal(store, forgotten)[1].forgotten == []
    other = MemoryStore()
    other.append([event(0)])
    assert [fault.kind for fault in log_seals.check_log_seal(other, sealed)[0]] == ["key"]


def test_a_log_s_seal_is_signed_and_not_edited(store: Store, tmp_path: Path) -> None:
    store.append([event(0), event(1)])
    retire(store, "s")
    store.append([event(0, session="t")])
    private, public = key_pair(tmp_path)
    file = tmp_path / "seal"
    signed = log_seals.seal_log(store, private)
    assert kept(signed, file, public) == signed
    whole = file.read_text()
    for old, new in (
        ('"events":1', '"events":2'), ('"session_id":"t"', '"session_id":"u"'),
        ('"archive":"archive/it"', '"archive":"x"'),
        ('"key":"none"', '"key":"kept"'), ('"turnlog_log_seal":1', '"turnlog_log_seal":2'), ('"heads"', '"feet"'),
        ("]}", "]"), ('"tombstones": [', '"tombstones": [7,'),
    ):  # fmt: skip
        assert old in whole
        file.write_text(whole.replace(old, new))
        with pytest.raises(seals.BadSeal):
            log_seals.load_seal(file)
    with pytest.raises(seals.BadSeal, match="is not signed"):
        kept(log_seals.seal_log(store), file, public)


def test_a_seal_of_ten_thousand_sessions_is_a_line_a_session(tmp_path: Path) -> None:
    heads = [log_seals.SealedSession(f"s-{n}", "none", [("o", 1, "ab" * 32)]) for n in range(10_000)]
    file = tmp_path / "seal"
    kept(log_seals.LogSeal(1, 10_000, 10_000, log_seals._digest(heads, []), heads, []), file)
    lines = file.read_text().splitlines()
    assert len(lines) == 10_000 + 4
    assert max(map(len, lines)) < 200


def test_the_links_of_a_log_s_seal_are_as_documented() -> None:
    """Of all time: an old seal must be readable with any later turnlog."""
    heads = [log_seals.SealedSession("s-1", "kept", [("o", 1, "ab" * 32)])]
    assert log_seals._digest(heads, [Tombstone("s-2", 1, 2, 3, "cd" * 32, "a", 4)]) == DIGEST


@pytest.mark.slow
def test_the_commands_of_a_whole_log(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    private, public = key_pair(program.folder)
    program.run("seal", "--all", "--out", "log.seal", "--key", private)
    program.run("seal", "barge_in_vad", "--out", "one.seal")
    assert "all hash chains valid" in program.run("verify", "--seal", "log.seal", "--public-key", public).stdout
    assert "name a SESSION, or" in program.fails("seal")
    assert "name a SESSION, or" in program.fails("seal", "barge_in_vad", "--all")
    assert "leave out the session" in program.fails("verify", "barge_in_vad", "--seal", "log.seal")
    with sqlite3.connect(program.db) as meddler:
        mine = "(SELECT id FROM origins WHERE session_id = 'barge_in_vad')"
        meddler.execute("INSERT INTO unlocked VALUES ('barge_in_vad')")
        meddler.execute(f"DELETE FROM events WHERE origin_id = {mine}")
        meddler.execute("DELETE FROM origins WHERE session_id = 'barge_in_vad'")
        meddler.execute("DELETE FROM unlocked")
    meddler.close()
    gone = "removed: session 'barge_in_vad': it is gone without a tombstone; 172 events were sealed"
    shown = program.run("verify", "--seal", "log.seal", code=1).stdout
    assert gone in shown
    assert "removed: 172 events are missing without a tombstone" in shown
    assert gone in program.run("verify", "--seal", "one.seal", code=1).stdout
