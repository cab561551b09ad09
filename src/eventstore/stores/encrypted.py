"""A store that keeps the content of calls encrypted, each session's under a key of its own.

What is stored in the place of a payload with content is ``{"$sealed": "…", …}``: the whole payload as AES-256-GCM
ciphertext, and beside it the arguments without their content, so that whoever has no key still replays all that needs
none. The hash chain is over what is stored, so it holds with the key, without it, and after `forget` has destroyed it.

A session's key is made when its first content comes, and kept in the database, wrapped under the master key, which is
never stored. The nonce is made from the event itself, as in SIV: the same event gives the same bytes, so that appending
it again is still harmless, and other content never meets the same nonce.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec
import orjson

from eventstore.errors import IdentityConflict, StoreError
from eventstore.event import Event
from eventstore.hooks.content import without_content
from eventstore.stores.base import Followed, Ledger, Session, Store
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.records import Key

MASTER_KEY = "TURNLOG_MASTER_KEY"
SEALED = '{"$sealed":"'
_MAX_CIPHERS = 1000
"""Of how many sessions the keys are kept in memory."""


class NotSealable(StoreError):
    """There is content to store, and no key to seal it with."""

    of_session = True


class WrongMasterKey(StoreError):
    """The master key is not the one that a session was recorded under."""

    of_session = True


class MasterKey:
    """What wraps the sessions' keys. Never stored, and never shown."""

    def __init__(self, text: str, where: str = MASTER_KEY) -> None:
        """``text``: 32 bytes in base64. Raises `StoreError`, naming ``where`` it is from, if it is anything else."""
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise StoreError(f"{where} must be 32 bytes in base64; make one with: openssl rand -base64 32")
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ModuleNotFoundError as error:
            raise StoreError(f"encryption needs the extra: pip install 'turnlog[crypto]' ({error})") from error
        self._aead = AESGCM(key)
        self.fingerprint = blake2b(key, digest_size=8, person=b"turnlog master").hexdigest()

    def __repr__(self) -> str:
        return f"MasterKey({self.fingerprint})"

    def wrap(self, session_id: str, key: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._aead.encrypt(nonce, key, b"turnlog key\0" + session_id.encode())

    def unwrap(self, session_id: str, wrapped: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(wrapped[:12], wrapped[12:], b"turnlog key\0" + session_id.encode())
        except InvalidTag as error:
            raise StoreError(f"the key of session {session_id!r} is damaged; its content cannot be read") from error


def master_keys(text: str, where: str = MASTER_KEY) -> list[MasterKey]:
    """The keys in a text, between commas: the first wraps, all unwrap. Raises `StoreError`."""
    return [MasterKey(each, where) for each in text.split(",")]


class Cipher:
    """Seals and opens the payloads of one session."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(blake2b(b"encrypt", key=key, digest_size=32).digest())
        self._nonce_key = blake2b(b"nonce", key=key, digest_size=32).digest()

    def seal(self, event: Event, visible: bytes) -> str:
        """The stored payload: the event's own as ciphertext, before the ``visible`` arguments."""
        payload, bound = event.payload.encode(), _associated_data(event)
        nonce = blake2b(bound + payload, key=self._nonce_key, digest_size=12).digest()
        sealed = base64.b64encode(nonce + self._aead.encrypt(nonce, payload, bound)).decode()
        return _sealed(sealed, visible)

    def open(self, event: Event) -> str:
        """The payload as it was recorded. Raises `StoreError` if it was tampered with."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(event.payload[len(SEALED) : event.payload.index('"', len(SEALED))], validate=True)
            return self._aead.decrypt(data[:12], data[12:], _associated_data(event)).decode()
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                f"event {event.seq} of session {event.session_id!r} does not decrypt: it was changed after it was "
                "stored; see `turnlog verify`"
            ) from error


def _associated_data(event: Event) -> bytes:
    """What a ciphertext belongs to, and cannot be moved away from."""
    return msgspec.msgpack.encode(msgspec.structs.astuple(event)[:-1])


def _sealed(sealed: str, visible: bytes) -> str:
    return SEALED + sealed + '"' + ("}" if visible == b"{}" else "," + visible[1:].decode())


class ForgottenCipher(NamedTuple):
    """In the place of a cipher: the session's key is destroyed, and no content of it is kept any more."""

    def seal(self, _event: Event, visible: bytes) -> str:
        return _sealed("", visible)


def has_readable_content(event: Event) -> bool:
    """Whether an event, as it is stored, has content in the clear."""
    if not event.payload.startswith(SEALED):
        return event.payload != "{}" and without_content(event.hook, event.payload) is not None
    try:
        beside = orjson.loads(event.payload)
        del beside[SEALED[2:-3]]
    except (ValueError, KeyError):
        return True
    return without_content(event.hook, orjson.dumps(beside).decode()) is not None


class EncryptedStore:
    """Another store, with its content sealed. Reading without the master key shows what is not content."""

    encrypts = True

    def __init__(self, store: Store, masters: Sequence[MasterKey] = ()) -> None:
        """``masters``: the first wraps the keys of new sessions, all unwrap."""
        self._store, self._masters = store, masters
        self._ciphers: dict[str, Cipher | ForgottenCipher | None] = {}
        """Without a lock, which a fork could leave locked for ever; two that make a key at once keep the same one."""

    def __repr__(self) -> str:
        return f"{self._store!r}, content encrypted"

    @property
    def ledger(self) -> Ledger:
        return self._store.ledger

    @property
    def journal(self) -> Path | None:
        return self._store.journal

    def append(self, events: Iterable[Event]) -> Sequence[int]:
        """See `Store.append`. Raises `NotSealable` if there is content and no master key."""
        batch = list(events)
        sessions = {event.session_id for event in batch}
        for session_id in self.ledger.forgotten_sessions(sessions & self._ciphers.keys()):
            self._ciphers[session_id] = ForgottenCipher()
        sealed = list(map(self._seal, batch))
        try:
            return self._store.append(sealed)
        except IdentityConflict:
            as_stored = self._as_stored(batch, sealed)
            if as_stored == sealed:
                raise
            return self._store.append(as_stored)

    def read(self, session_id: str) -> Iterator[Event]:
        """See `Store.read`. Raises `WrongMasterKey`."""
        self._ciphers.pop(session_id, None)  # it may have been forgotten since
        return map(self._open, self._store.read(session_id))

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`."""
        for position, event in self._store.follow(after, session_id=session_id, stop=stop):
            yield Followed(position, self._open(event))

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`: as stored, so sealed."""
        return self._store.chains(session_id)

    def sessions(self) -> list[Session]:
        return self._store.sessions()

    def close(self) -> None:
        self._store.close()

    # inside ----------------------------------------------------------------------------------------------------

    def _seal(self, event: Event) -> Event:
        if event.payload == "{}" or event.payload.startswith(SEALED):  # the latter from an archive
            return event
        visible = without_content(event.hook, event.payload)
        if visible is None:
            return event
        cipher = self._cipher(event.session_id, make=True)
        assert cipher is not None
        return msgspec.structs.replace(event, payload=cipher.seal(event, visible))

    def _as_stored(self, batch: list[Event], sealed: list[Event]) -> list[Event]:
        """What is to be appended again, of sessions that were forgotten since it was stored, as it is stored.

        Its ciphertext cannot be made again. What the stored one says beside it decides whether it is the same.
        """
        forgotten = self.ledger.forgotten_sessions({event.session_id for event in batch})
        stored = {event.identity: event for session_id in forgotten for event in self._store.read(session_id)}

        def same(given: Event, ours: Event) -> Event:
            found = stored.get(given.identity)
            if found is None or msgspec.structs.replace(found, payload="") != msgspec.structs.replace(ours, payload=""):
                return ours
            return found if found.payload == given.payload or found.payload.startswith(SEALED) else ours

        return list(map(same, batch, sealed))

    def _open(self, event: Event) -> Event:
        if not self._masters or not event.payload.startswith(SEALED):
            return event
        cipher = self._cipher(event.session_id)
        if not isinstance(cipher, Cipher) or event.payload.startswith(SEALED + '"'):
            return event
        return msgspec.structs.replace(event, payload=cipher.open(event))

    def _cipher(self, session_id: str, *, make: bool = False) -> Cipher | ForgottenCipher | None:
        cipher = self._ciphers.get(session_id)
        if cipher is None:
            cipher = self._load_cipher(session_id, make)
            if len(self._ciphers) >= _MAX_CIPHERS:
                self._ciphers.clear()
            self._ciphers[session_id] = cipher
        return cipher

    def _load_cipher(self, session_id: str, make: bool) -> Cipher | ForgottenCipher | None:
        key = self.ledger.key(session_id)
        if key is not None and key.wrapped is None:
            return ForgottenCipher()
        if not self._masters:
            raise NotSealable(f"this log keeps content encrypted: set {MASTER_KEY} to record into it")
        if key is None:
            if not make:
                return None
            master = self._masters[0]
            wrapped = master.wrap(session_id, os.urandom(32))
            key = self.ledger.add_key(Key(session_id, master.fingerprint, wrapped))
            if key.wrapped is None:
                return ForgottenCipher()
        for master in self._masters:
            if master.fingerprint == key.master:
                assert key.wrapped is not None
                return Cipher(master.unwrap(session_id, key.wrapped))
        fingerprints = ", ".join(master.fingerprint for master in self._masters)
        raise WrongMasterKey(
            f"session {session_id!r} was recorded under another master key ({key.master}) than {MASTER_KEY} holds "
            f"({fingerprints}); without any, all but its content can be read"
        )


def with_encryption(store: Store, master_key: str | None) -> Store:
    """The store as it is, or, with a master key or where sessions are encrypted already, one that seals content."""
    if master_key is None and not store.ledger.has_keys():
        return store
    return EncryptedStore(store, () if master_key is None else master_keys(master_key))


def forget(store: Store, session_id: str) -> Key:
    """Destroy the session's key, and with it the content of all its events, wherever they were copied to.

    Their order, times, hash chain and what is not content stay. Forgetting again changes nothing. Returns what is left
    of the key. Raises `StoreError` if the session is not encrypted.
    """
    if store.ledger.key(session_id) is None:
        raise StoreError(
            f"session {session_id!r} is not encrypted, so its content cannot be forgotten, only removed with its "
            f"events (turnlog retention); sessions are encrypted if {MASTER_KEY} is set when they are recorded"
        )
    store.ledger.destroy_key(session_id, time.time_ns())
    key = store.ledger.key(session_id)
    assert key is not None, "a key is never deleted"
    return key
