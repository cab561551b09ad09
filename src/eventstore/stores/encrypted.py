"""A store wrapper that encrypts the content of calls, with one key per session.

A payload with content is stored as ``{"$sealed": "…", …}``: the whole payload as AES-256-GCM ciphertext, followed by
the arguments without their content, so that everything that needs no content can be replayed without the key. The hash
chain is computed over the stored form, so it verifies with the key, without it, and after `forget` has destroyed it.

A session's key is generated with its first content and stored in the database, wrapped under the master key, which is
never stored. The nonce is derived from the event, as in SIV: the same event always gives the same bytes, so appends
stay idempotent, and different content never shares a nonce.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec
import orjson

from eventstore.errors import IdentityConflict, StoreError
from eventstore.event import Event
from eventstore.hooks.content import without_content
from eventstore.stores.base import Followed, Ledger, Rows, Session, Store
from eventstore.stores.chain import Linked, Origin
from eventstore.stores.records import Head, Key, Part, RowKey, StoredRow

MASTER_KEY = "TURNLOG_MASTER_KEY"
SEALED = '{"$sealed":"'
_MAX_CIPHERS = 1000
"""Number of session keys cached in memory."""


class NotSealable(StoreError):
    """Content cannot be stored without a key to encrypt it."""

    of_session = True


class WrongMasterKey(StoreError):
    """A session was recorded under a different master key."""

    of_session = True


class MasterKey:
    """The key that wraps the sessions' keys. Never stored, never shown."""

    def __init__(self, text: str, where: str = MASTER_KEY) -> None:
        """``text``: 32 bytes in base64. Raises `StoreError`, naming its source ``where``, if it is not."""
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
    """Parse comma-separated keys: the first wraps, all unwrap. Raises `StoreError`."""
    return [MasterKey(each, where) for each in text.split(",")]


class Cipher:
    """Encrypts and decrypts the payloads of one session."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(blake2b(b"encrypt", key=key, digest_size=32).digest())
        self._nonce_key = blake2b(b"nonce", key=key, digest_size=32).digest()

    def seal(self, event: Event, visible: bytes) -> str:
        """The stored payload: the event's payload as ciphertext, then the ``visible`` arguments."""
        payload, bound = event.payload.encode(), _associated_data(event)
        nonce = blake2b(bound + payload, key=self._nonce_key, digest_size=12).digest()
        sealed = base64.b64encode(nonce + self._aead.encrypt(nonce, payload, bound)).decode()
        return _sealed(sealed, visible)

    def open(self, event: Event) -> str:
        """The payload as recorded. Raises `StoreError` if it was tampered with."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(event.payload[len(SEALED) : event.payload.index('"', len(SEALED))], validate=True)
            return self._aead.decrypt(data[:12], data[12:], _associated_data(event)).decode()
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                f"event {event.seq} of session {event.session_id!r} does not decrypt: it was changed after it was "
                "stored; see `turnlog verify`"
            ) from error

    def seal_bytes(self, data: bytes, bound: bytes) -> bytes:
        """Data other than an event, encrypted and authenticated together with what it is ``bound`` to."""
        bound = b"turnlog bytes\0" + bound
        nonce = blake2b(bound + data, key=self._nonce_key, digest_size=12).digest()
        return nonce + self._aead.encrypt(nonce, data, bound)

    def open_bytes(self, sealed: bytes, bound: bytes) -> bytes | None:
        """The data; None if it was changed, or was bound to something else."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], b"turnlog bytes\0" + bound)
        except (InvalidTag, ValueError, TypeError):  # TypeError: not even bytes
            return None


def _associated_data(event: Event) -> bytes:
    """The fields that a ciphertext is authenticated with, so that it cannot be moved to a different event."""
    return msgspec.msgpack.encode(msgspec.structs.astuple(event)[:-1])


def _sealed(sealed: str, visible: bytes) -> str:
    return SEALED + sealed + '"' + ("}" if visible == b"{}" else "," + visible[1:].decode())


class ForgottenCipher(NamedTuple):
    """The cipher of a session whose key is destroyed: seals events without their content."""

    def seal(self, _event: Event, visible: bytes) -> str:
        return _sealed("", visible)


def has_readable_content(event: Event) -> bool:
    """Whether a stored event has content in the clear."""
    if not event.payload.startswith(SEALED):
        return event.payload != "{}" and without_content(event.hook, event.payload) is not None
    try:
        visible = orjson.loads(event.payload)
        del visible[SEALED[2:-3]]
    except (ValueError, KeyError):
        return True
    return without_content(event.hook, orjson.dumps(visible).decode()) is not None


class EncryptedStore:
    """Wraps a store and encrypts content. Reads without the master key return events without content."""

    encrypts = True
    reopen: Callable[[], Store] | None = None

    def __init__(self, store: Store, masters: Sequence[MasterKey] = ()) -> None:
        """``masters``: the first wraps the keys of new sessions, all unwrap."""
        self._store, self._masters = store, masters
        self._ciphers: dict[str, Cipher | ForgottenCipher | None] = {}
        """No lock, which a fork could leave locked: threads that create a key concurrently get the same one."""

    def __repr__(self) -> str:
        return f"{self._store!r}, content encrypted"

    @property
    def ledger(self) -> Ledger:
        return self._store.ledger

    @property
    def decrypts(self) -> bool:
        return bool(self._masters)

    @property
    def rows(self) -> Rows:
        """See `Store.rows`; labels and speech are sealed under the session's key."""
        return SealedRows(self._store.rows, self._cipher)

    def sealing(self, rows: Rows) -> Rows:
        """The rows in a place outside of the log, sealed like those in it."""
        return SealedRows(rows, self._cipher)

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
        self._ciphers.pop(session_id, None)  # the session may have been forgotten meanwhile
        return map(self._open, self._store.read(session_id))

    def read_many(self, session_ids: Iterable[str]) -> Iterator[tuple[str, Iterator[Event]]]:
        """See `Store.read_many`."""
        for session_id, events in self._store.read_many(session_ids):
            self._ciphers.pop(session_id, None)
            yield session_id, map(self._open, events)

    def follow(
        self, after: str | None = None, *, session_id: str | None = None, stop: threading.Event | None = None
    ) -> Iterator[Followed]:
        """See `Store.follow`."""
        for position, event in self._store.follow(after, session_id=session_id, stop=stop):
            yield Followed(position, self._open(event))

    def chains(self, session_id: str) -> Iterator[tuple[Origin, Iterator[Linked]]]:
        """See `Store.chains`; events are as stored, so sealed."""
        return self._store.chains(session_id)

    def sessions(self) -> list[Session]:
        return self._store.sessions()

    def heads(self) -> dict[str, Head]:
        return self._store.heads()

    def close(self) -> None:
        self._store.close()

    # internals -------------------------------------------------------------------------------------------------

    def _seal(self, event: Event) -> Event:
        if event.payload == "{}" or event.payload.startswith(SEALED):  # already sealed, as in an archive
            return event
        visible = without_content(event.hook, event.payload)
        if visible is None:
            return event
        cipher = self._cipher(event.session_id, make=True)
        assert cipher is not None
        return msgspec.structs.replace(event, payload=cipher.seal(event, visible))

    def _as_stored(self, batch: list[Event], sealed: list[Event]) -> list[Event]:
        """The batch with the stored form of events that were stored before their session was forgotten.

        Their ciphertext cannot be recomputed, so their other fields decide whether they are the same.
        """
        forgotten = self.ledger.forgotten_sessions({event.session_id for event in batch})
        stored = {event.identity: event for session_id in forgotten for event in self._store.read(session_id)}

        def stored_form(event: Event, ours: Event) -> Event:
            found = stored.get(event.identity)
            if found is None or msgspec.structs.replace(found, payload="") != msgspec.structs.replace(ours, payload=""):
                return ours
            return found if found.payload == event.payload or found.payload.startswith(SEALED) else ours

        return list(map(stored_form, batch, sealed))

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
            raise NotSealable(f"this log is encrypted: set {MASTER_KEY} to record into it")
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
            f"session {session_id!r} was recorded under another master key ({key.master}) than {MASTER_KEY} contains "
            f"({fingerprints}); unset it to read everything but the content"
        )


class SealedRows:
    """Rows of read models whose text is sealed, each session's under its own key, if it was read with that key."""

    def __init__(self, rows: Rows, cipher: Callable[[str], Cipher | ForgottenCipher | None]) -> None:
        self._rows, self._cipher = rows, cipher

    def read(self, keys: Sequence[RowKey], parts: Collection[Part] = ()) -> dict[str, StoredRow]:
        """See `Rows.read`. A row that does not decrypt is left out."""
        found = self._rows.read(keys, parts).items()
        opened = {name: row if not row.opened else self._open_row(row, parts) for name, row in found}
        return {name: row for name, row in opened.items() if row is not None}

    def put(self, rows: Sequence[StoredRow]) -> None:
        """See `Rows.put`. A row of a session that was forgotten meanwhile is left out."""
        sealed = [row if not row.opened else self._seal_row(row) for row in rows]
        self._rows.put([row for row in sealed if row is not None])

    def fresh(self, keys: Sequence[RowKey]) -> set[str]:
        return self._rows.fresh(keys)

    def stored_keys(self) -> list[RowKey]:
        return self._rows.stored_keys()

    def delete(self, sessions: Collection[str]) -> None:
        self._rows.delete(sessions)

    def _seal_row(self, row: StoredRow) -> StoredRow | None:
        cipher = self._cipher(row.session_id)
        if not isinstance(cipher, Cipher):
            return None
        labels, speech = (cipher.seal_bytes(getattr(row, part), _bound(row, part)) for part in ("labels", "speech"))
        return row._replace(labels=labels, speech=speech)

    def _open_row(self, row: StoredRow, parts: Collection[Part]) -> StoredRow | None:
        if not {"labels", "speech"} & set(parts):
            return row
        cipher = self._cipher(row.session_id)
        if not isinstance(cipher, Cipher):
            return None
        labels = cipher.open_bytes(row.labels, _bound(row, "labels")) if "labels" in parts else b""
        speech = cipher.open_bytes(row.speech, _bound(row, "speech")) if "speech" in parts else b""
        return None if labels is None or speech is None else row._replace(labels=labels, speech=speech)


def _bound(row: StoredRow, part: str) -> bytes:
    return msgspec.msgpack.encode((part, *row.key))


def with_encryption(store: Store, master_key: str | None) -> Store:
    """Wrap the store in an `EncryptedStore` if there is a master key or it has encrypted sessions."""
    if master_key is None and not store.ledger.has_keys():
        return store
    return EncryptedStore(store, () if master_key is None else master_keys(master_key))


def forget(store: Store, session_id: str) -> Key:
    """Destroy the session's key, and with it the content of all its events and of every copy of them.

    Order, times, hash chain and everything that is not content stay. Idempotent. Returns what is left of the key.
    Raises `StoreError` if the session is not encrypted.
    """
    if store.ledger.key(session_id) is None:
        raise StoreError(
            f"session {session_id!r} is not encrypted, so its content cannot be forgotten; remove its events with "
            f"turnlog retention (sessions are encrypted if {MASTER_KEY} is set when they are recorded)"
        )
    store.ledger.destroy_key(session_id, time.time_ns())
    key = store.ledger.key(session_id)
    assert key is not None, "a key is never deleted"
    return key
