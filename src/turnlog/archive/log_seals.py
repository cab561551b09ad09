"""The seal of a whole log: the heads of all sessions and all tombstones under one digest.

It is a JSON document with one session per line, so that thousands stay readable::

    {"turnlog_log_seal": 1, "sessions": 2, "events": 80, "seal": "…", "signature": "…",
    "heads": [
    {"session_id": "s-1", "key": "kept", "origins": [["o", 40, "…link…"]]},
    …],
    "tombstones": [
    …]}

``seal`` is SHA-256 over the MessagePack of ``["turnlog log seal", 1, heads, tombstones]``, where a head is
``[session_id, key, [[origin, events, link], …]]`` and a tombstone the columns of table ``removals`` in their order; the
signature is Ed25519 over ``turnlog log seal 1:`` and the digest. ``key`` is ``kept``, ``forgotten`` or ``none``.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import IO, Annotated, Literal, NamedTuple

import msgspec
import orjson

from eventstore.errors import StoreError, StoreUnavailable
from eventstore.integrity.audit import audit, is_valid_text
from eventstore.integrity.session import Fault
from eventstore.stores import chain
from eventstore.stores.base import Store
from eventstore.stores.records import Tombstone
from turnlog.archive import seals
from turnlog.archive.seals import BadSeal, Seal

Count = Annotated[int, msgspec.Meta(gt=0)]
Link = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
KeyState = Literal["kept", "forgotten", "none"]
# wrong types, numbers out of range, text that is not UTF-8, documents nested too deeply
_NOT_A_SEAL = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class SealedSession(msgspec.Struct, frozen=True):
    session_id: str
    key: KeyState
    origins: list[tuple[str, Count, Link]]

    @property
    def events(self) -> int:
        return sum(events for _name, events, _link in self.origins)

    def digest(self) -> str:
        """The seal of a tombstone that removes exactly this session."""
        return chain.seal(
            chain.Origin(self.session_id, name, events, bytes.fromhex(link)) for name, events, link in self.origins
        )


class LogSeal(msgspec.Struct, frozen=True, omit_defaults=True):
    turnlog_log_seal: Literal[1]
    sessions: int
    events: int
    seal: str
    heads: list[SealedSession]
    tombstones: list[Tombstone]
    signature: str | None = None


class Since(NamedTuple):
    """Legitimate changes of a log since it was sealed."""

    new: list[str]
    """Sessions that are not in the seal."""
    grown: list[str]
    removed: list[Tombstone]
    forgotten: list[str]


def seal_log(store: Store, private_key: Path | None = None) -> LogSeal:
    """Seal the log as it is stored now. Raises `BadSeal` if the key is unusable or the log is damaged."""
    heads = list(_heads(store))
    tombstones = store.ledger.tombstones()
    digest = _digest(heads, tombstones)
    signature = None if private_key is None else seals.sign(_message(digest), private_key)
    return LogSeal(1, len(heads), sum(head.events for head in heads), digest, heads, tombstones, signature)


def write_log_seal(sealed: LogSeal, file: IO[bytes]) -> None:
    """Write the document with one session per line."""
    head = {"turnlog_log_seal": 1, "sessions": sealed.sessions, "events": sealed.events, "seal": sealed.seal}
    if sealed.signature is not None:
        head["signature"] = sealed.signature
    file.write(orjson.dumps(head)[:-1])
    for name, entries in (("heads", sealed.heads), ("tombstones", [t._asdict() for t in sealed.tombstones])):
        lines = ",\n".join(msgspec.json.encode(entry).decode() for entry in entries)
        file.write(f',\n"{name}": [\n{lines}\n]'.encode() if entries else f',\n"{name}": []'.encode())
    file.write(b"}\n")


def load_seal(path: Path, public_key: Path | None = None) -> LogSeal | Seal:
    """Read the seal of a log or a session, and check its signature if a public key is given. Raises `BadSeal`."""
    data = seals.content(path)
    if not data.lstrip().startswith(b'{"turnlog_log_seal"'):
        return seals.parse_seal(path, data, public_key)
    try:
        raw = msgspec.json.decode(data)
        raw["tombstones"] = [list(map(tombstone.__getitem__, Tombstone._fields)) for tombstone in raw["tombstones"]]
        found = msgspec.convert(raw, LogSeal)
        digest = _digest(found.heads, found.tombstones)
    except _NOT_A_SEAL as error:
        raise BadSeal(f"{path} is not a seal that this version of turnlog supports: {error}") from error
    counts = len(found.heads), sum(head.events for head in found.heads)
    if digest != found.seal or counts != (found.sessions, found.events):
        raise BadSeal(f"{path} was changed: its digest is not that of its sessions and tombstones")
    if public_key is not None:
        seals.check_signature(path, found.signature, _message(found.seal), public_key)
    return found


def sessions_of(sealed: LogSeal | Seal) -> list[SealedSession]:
    if isinstance(sealed, LogSeal):
        return sealed.heads
    return [SealedSession(sealed.session_id, "none", [(o.origin, o.events, o.link) for o in sealed.origins])]


def check_log_seal(store: Store, sealed: LogSeal | Seal) -> tuple[list[Fault], Since]:
    """Compare the log with a seal: return the faults, and the legitimate changes since.

    Its hash chains must be verified separately. Raises `StoreError`.
    """
    faults: list[Fault] = []
    since = Since([], [], [], [])
    changed: list[tuple[SealedSession, bool, list[Fault]]] = []
    for head in sessions_of(sealed):
        try:
            now = {origin.origin: origin for origin, _stored in store.chains(head.session_id)}
            if found := [f for end in head.origins if (f := seals.origin_fault(store, head.session_id, *end, now))]:
                changed.append((head, now.keys().isdisjoint(end[0] for end in head.origins), found))
            elif sum(origin.events for origin in now.values()) > head.events:
                since.grown.append(head.session_id)
            if isinstance(sealed, LogSeal):
                faults += _check_key(store, head, since)
        except StoreUnavailable:
            raise
        except StoreError as error:
            message = f"session {head.session_id!r} cannot be read: {error}"
            faults.append(Fault(head.session_id, None, None, "unreadable", message))
    tombstones = store.ledger.tombstones()  # read after the sessions: one may have been removed in the meantime
    for head, gone, found in changed:
        faults += _check_removal(head, tombstones, since) if gone else found
    if isinstance(sealed, LogSeal):
        faults += _check_tombstones(sealed.tombstones, tombstones)
        known = {head.session_id for head in sealed.heads}
        since.new.extend(name for name in _names(store) if name not in known)
    return faults, since


def _check_removal(sealed: SealedSession, tombstones: list[Tombstone], since: Since) -> Iterator[Fault]:
    """Check a session that is gone: it is a fault unless retention left a matching tombstone."""
    removals = [t for t in tombstones if t.session_id == sealed.session_id]
    matching = [t for t in removals if _covers(t, sealed)]
    if matching:
        since.removed.append(matching[-1])
        return
    problem = f"it is gone without a tombstone; {sealed.events} events were sealed"
    kind: Literal["removed", "tombstone"] = "removed"
    if removals:
        problem, kind = "its tombstone is not that of the session that was sealed", "tombstone"
    yield Fault(sealed.session_id, None, None, kind, f"session {sealed.session_id!r}: {problem}")


def _covers(tombstone: Tombstone, sealed: SealedSession) -> bool:
    """True if it removes the sealed session, or a grown one, whose seal cannot be compared."""
    grown = type(tombstone.events) is int and tombstone.events > sealed.events
    return grown or tombstone.seal == sealed.digest()


def _check_key(store: Store, sealed: SealedSession, since: Since) -> Iterator[Fault]:
    now = _key_state(store, sealed.session_id)
    if sealed.key in (now, "none"):
        return
    if now == "forgotten":
        since.forgotten.append(sealed.session_id)
        return
    problem = "its key is gone" if now == "none" else "its key, forgotten when it was sealed, has reappeared"
    yield Fault(sealed.session_id, None, None, "key", f"session {sealed.session_id!r}: {problem}")


def _check_tombstones(sealed: list[Tombstone], now: list[Tombstone]) -> Iterator[Fault]:
    kept = set(now)
    for tombstone in sealed:
        if tombstone not in kept:
            message = f"session {tombstone.session_id!r}: its tombstone was changed or is gone"
            yield Fault(tombstone.session_id, None, None, "tombstone", message)


def _heads(store: Store) -> Iterator[SealedSession]:
    """Yield the heads, grouped by session."""
    for session_id, origins in groupby(_origins(store), key=lambda origin: origin.session_id):
        ends = [(origin.origin, origin.events, origin.link.hex()) for origin in origins]
        yield SealedSession(session_id, _key_state(store, session_id), ends)


def _origins(store: Store) -> Iterator[chain.Origin]:
    log = audit(store)
    if log is None:
        for name in sorted(_names(store)):
            yield from (origin for origin, _stored in store.chains(name))
        return
    for head in log.heads():
        valid = is_valid_text(head.session_id) and is_valid_text(head.origin) and isinstance(head.link, bytes)
        if not (valid and type(head.events) is int and head.events >= 0 and len(head.link) == 32):
            raise BadSeal(f"origin {head.origin!r} of session {head.session_id!r} is damaged; see: turnlog verify")
        if head.events:
            yield chain.Origin(*head[1:])


def _names(store: Store) -> list[str]:
    log = audit(store)
    if log is None:
        return [session.session_id for session in store.sessions()]
    return list(dict.fromkeys(head.session_id for head in log.heads() if is_valid_text(head.session_id)))


def _key_state(store: Store, session_id: str) -> KeyState:
    key = store.ledger.key(session_id)
    return "none" if key is None else "forgotten" if key.wrapped is None else "kept"


def _digest(heads: list[SealedSession], tombstones: list[Tombstone]) -> str:
    rows = [(head.session_id, head.key, head.origins) for head in heads]
    return sha256(msgspec.msgpack.encode(("turnlog log seal", 1, rows, tombstones))).hexdigest()


def _message(digest: str) -> bytes:
    """The text that is signed."""
    return f"turnlog log seal 1:{digest}".encode()
