"""Seals, and the commands that check a log."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from conftest import FIXTURES, Program
from eventstore import Store
from test_store_contract import event
from turnlog import seals


def key_pair(folder: Path, kind: type = Ed25519PrivateKey) -> tuple[Path, Path]:
    key = kind.generate()
    private, public = folder / f"{kind.__name__}.pem", folder / f"{kind.__name__}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_session_may_grow_but_not_change_after_it_was_sealed(store: Store, tmp_path: Path) -> None:
    store.append([event(n) for n in range(5)] + [event(0, origin="p")])
    sealed = seals.make(store, "s")
    (tmp_path / "seal").write_text(sealed.model_dump_json())
    assert seals.load(tmp_path / "seal") == sealed
    store.append([event(5), event(1, origin="p"), event(0, origin="q")])
    assert seals.check(store, sealed) == []
    assert seals.make(store, "s").seal != sealed.seal


def test_a_chain_that_was_built_anew_is_found_by_its_seal(store: Store) -> None:
    """The forger has redone every link; only what was kept elsewhere shows it."""
    from eventstore.memory_store import MemoryStore

    store.append([event(n) for n in range(5)])
    sealed = seals.make(store, "s")
    forged = MemoryStore()
    forged.append([event(n, payload='{"a":1}' if n == 2 else "{}") for n in range(5)])
    (fault,) = seals.check(forged, sealed)
    assert (fault.kind, fault.message) == ("changed", "session 's', origin 'o': was rebuilt since it was sealed")
    shorter = MemoryStore()
    shorter.append([event(n) for n in range(4)])
    (fault,) = seals.check(shorter, sealed)
    assert fault.kind == "removed"


def test_signatures(store: Store, tmp_path: Path) -> None:
    store.append([event(0)])
    private, public = key_pair(tmp_path)
    signed = seals.make(store, "s", private)
    file = tmp_path / "seal"
    file.write_text(signed.model_dump_json())
    assert seals.load(file, public) == signed
    (tmp_path / "other").mkdir()
    _private, stranger = key_pair(tmp_path / "other")
    with pytest.raises(seals.BadSeal, match="not signed with the key"):
        seals.load(file, stranger)
    file.write_text(seals.make(store, "s").model_dump_json())
    with pytest.raises(seals.BadSeal, match="is not signed"):
        seals.load(file, public)
    wrong, _public = key_pair(tmp_path, X25519PrivateKey)
    for path, message in (
        (wrong, "not an Ed25519 key"),
        (public, "not a private key"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(seals.BadSeal, match=message):
            seals.make(store, "s", path)


def test_openssl_accepts_our_signature(store: Store, tmp_path: Path) -> None:
    """A seal can be checked without turnlog."""
    import base64

    store.append([event(0)])
    private, public = key_pair(tmp_path)
    signed = seals.make(store, "s", private)
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
    sealed = seals.make(store, "s")
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
            seals.load(file)
    with pytest.raises(seals.BadSeal, match="No such file"):
        seals.load(tmp_path / "nothing")


def test_the_commands(program: Program) -> None:
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    assert "every chain holds" in program.run("verify").stdout
    assert "1 sessions, 172 events: every chain holds" in program.run("verify", "barge_in_vad").stdout
    private, public = key_pair(program.folder)
    (program.folder / "s.seal").write_text(program.run("seal", "barge_in_vad", "--key", private).stdout)
    program.run("verify", "--seal", "s.seal", "--public-key", public)
    assert "is of session 'barge_in_vad'" in program.fails("verify", "another", "--seal", "s.seal")
    with sqlite3.connect(program.db) as meddler:
        meddler.execute("DROP TRIGGER events_no_update")
        meddler.execute(
            "UPDATE events SET wall_ns = 1 WHERE seq = 17 AND origin_id = "
            "(SELECT id FROM origins WHERE session_id = 'barge_in_vad')"
        )
    meddler.close()
    shown = program.run("verify", code=1).stdout
    assert "changed: session 'barge_in_vad', origin 'import': event 17 (" in shown
    assert shown.endswith(", 1 faults\n")
    found = orjson.loads(program.run("verify", "--json", code=1).stdout)
    assert [(fault["kind"], fault["seq"]) for fault in found["faults"]] == [("changed", 17)]
    assert "did you mean 'barge_in_vad'" in program.fails("verify", "barge_in_va")
    assert "not an Ed25519 key" in program.fails(
        "seal", "barge_in_vad", "--key", key_pair(program.folder, X25519PrivateKey)[0]
    )
