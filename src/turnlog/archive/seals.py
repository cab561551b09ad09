"""Seals: digests to keep outside the database, so that rebuilding or removing a session is detected.

A session's seal is a small JSON document: each origin with its number of events and its last link, a digest of these,
and optionally an Ed25519 signature of ``turnlog seal 1:`` and the digest. `turnlog.archive.log_seals` seals a whole
log. A session may grow after it was sealed; its sealed part may not change.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore.errors import TurnlogError
from eventstore.integrity.session import Fault, link_at
from eventstore.stores import chain
from eventstore.stores.base import Store


class BadSeal(TurnlogError):
    """A seal, its signature or a key is invalid."""


class SealedOrigin(BaseModel):
    model_config = ConfigDict(frozen=True)

    origin: str
    events: int = Field(gt=0, lt=2**63)
    link: str = Field(pattern="^[0-9a-f]{64}$")


class Seal(BaseModel):
    model_config = ConfigDict(frozen=True)

    turnlog_seal: Literal[1] = 1
    session_id: str
    events: int = Field(ge=0, lt=2**63)
    seal: str
    origins: list[SealedOrigin]
    signature: str | None = None
    """Ed25519, in base64."""

    def digest(self) -> str:
        """The digest of the origins, which `seal` must equal."""
        return chain.seal(
            chain.Origin(self.session_id, origin.origin, origin.events, bytes.fromhex(origin.link))
            for origin in self.origins
        )


def seal_session(store: Store, session_id: str, private_key: Path | None = None) -> Seal:
    """Seal a session as it is stored now. Raises `BadSeal` if the key is unusable."""
    origins = [origin for origin, _stored in store.chains(session_id)]
    digest = chain.seal(origins)
    return Seal(
        session_id=session_id,
        events=sum(origin.events for origin in origins),
        seal=digest,
        origins=[SealedOrigin(origin=o.origin, events=o.events, link=o.link.hex()) for o in origins],
        signature=None if private_key is None else sign(_message(digest), private_key),
    )


def parse_seal(path: Path, data: bytes, public_key: Path | None = None) -> Seal:
    """Parse the content of a seal file, and check its signature if a public key is given. Raises `BadSeal`."""
    try:
        found = Seal.model_validate_json(data)
    except ValidationError as error:
        raise BadSeal(f"{path} is not a seal: {error.errors()[0]['msg']}") from error
    if found.digest() != found.seal:
        raise BadSeal(f"{path} was changed: its digest is not that of its origins")
    if public_key is not None:
        check_signature(path, found.signature, _message(found.seal), public_key)
    return found


def load_session_seal(path: Path, public_key: Path | None = None) -> Seal:
    """Read a session's seal from a file; see `parse_seal`."""
    return parse_seal(path, content(path), public_key)


def content(path: Path) -> bytes:
    """Read a seal file. Raises `BadSeal`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSeal(f"cannot read {path}: {error.strerror}") from error


def check_session_seal(store: Store, sealed: Seal) -> list[Fault]:
    """The differences between a session and its seal. Its hash chains must be verified separately."""
    now = {origin.origin: origin for origin, _stored in store.chains(sealed.session_id)}
    ends = ((o.origin, o.events, o.link) for o in sealed.origins)
    return [fault for end in ends if (fault := origin_fault(store, sealed.session_id, *end, now))]


def origin_fault(
    store: Store, session_id: str, origin: str, events: int, sealed: str, now: dict[str, chain.Origin]
) -> Fault | None:
    """The difference between an origin and its sealed event count and last link (hex); None if they still match.

    ``now`` maps names to the session's current origins.
    """
    found, link = now.get(origin), bytes.fromhex(sealed)
    kind: Literal["removed", "changed"] = "removed"
    if found is None:
        problem = f"is gone; {events} events were sealed"
    elif type(found.events) is not int or found.events < events:
        problem = f"has fewer events than were sealed: {found.events} of {events}"
    elif (found.events, found.link) == (events, link):
        return None
    else:  # it has grown, or was rebuilt: the sealed link must still be in the chain
        at = link_at(store, session_id, origin, events)
        if at == link:
            return None
        kind = "removed" if at is None else "changed"
        problem = "has fewer events than were sealed" if at is None else "was rebuilt since it was sealed"
    message = f"session {session_id!r}, origin {origin!r}: {problem}"
    return Fault(session_id, origin, events - 1, kind, message)


def _message(digest: str) -> bytes:
    """The text that is signed."""
    return f"turnlog seal 1:{digest}".encode()


def sign(message: bytes, private_key: Path) -> str:
    """Return an Ed25519 signature in base64. Raises `BadSeal` if the key is unusable."""
    return base64.b64encode(_load(private_key, "private").sign(message)).decode()


def check_signature(path: Path, signature: str | None, message: bytes, public_key: Path) -> None:
    """Raise `BadSeal` unless the seal at ``path`` was signed with the matching private key."""
    from cryptography.exceptions import InvalidSignature

    if signature is None:
        raise BadSeal(f"{path} is not signed")
    key = _load(public_key, "public")
    try:
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, binascii.Error) as error:
        raise BadSeal(f"{path} was not signed with the private key of {public_key}") from error


def _load(path: Path, half: Literal["private", "public"]) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ModuleNotFoundError as error:
        raise BadSeal(f"signatures need the extra: pip install 'turnlog[crypto]' ({error})") from error
    wanted = ed25519.Ed25519PrivateKey if half == "private" else ed25519.Ed25519PublicKey
    try:
        data = path.read_bytes()
        key = load_pem_private_key(data, None) if half == "private" else load_pem_public_key(data)
    except OSError as error:
        raise BadSeal(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise BadSeal(f"{path} is not a {half} key in PEM without a password") from error
    if not isinstance(key, wanted):
        raise BadSeal(f"{path} is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key
