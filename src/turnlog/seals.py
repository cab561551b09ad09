"""Seals: what to keep elsewhere, so that nobody can rebuild a session's chain unseen.

A seal is a small JSON document: each origin of a session with the number of its events and its last link, a digest of
that, and optionally an Ed25519 signature of ``turnlog seal 1:`` and the digest. A session may grow after it was sealed;
what was sealed may not change.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eventstore import chain
from eventstore.errors import TurnlogError
from eventstore.store import Store
from eventstore.verify import Fault, link_at


class BadSeal(TurnlogError):
    """A seal, its signature or a key is not what it should be."""


class SealedOrigin(BaseModel):
    model_config = ConfigDict(frozen=True)

    origin: str
    events: int = Field(gt=0)
    link: str = Field(pattern="^[0-9a-f]{64}$")


class Seal(BaseModel):
    model_config = ConfigDict(frozen=True)

    turnlog_seal: Literal[1] = 1
    session_id: str
    events: int
    seal: str
    origins: list[SealedOrigin]
    signature: str | None = None
    """Ed25519, in base64."""

    def digest(self) -> str:
        """What `seal` has to be."""
        return chain.seal(
            chain.Origin(self.session_id, origin.origin, origin.events, bytes.fromhex(origin.link))
            for origin in self.origins
        )


def make(store: Store, session_id: str, private_key: Path | None = None) -> Seal:
    """Seal a session as it is stored now. Raises `BadSeal` if the key cannot be used."""
    origins = [origin for origin, _stored in store.chains(session_id)]
    digest = chain.seal(origins)
    signature = None
    if private_key is not None:
        signature = base64.b64encode(_load(private_key, "private").sign(_signed(digest))).decode()
    return Seal(
        session_id=session_id,
        events=sum(origin.events for origin in origins),
        seal=digest,
        origins=[SealedOrigin(origin=o.origin, events=o.events, link=o.link.hex()) for o in origins],
        signature=signature,
    )


def load(path: Path, public_key: Path | None = None) -> Seal:
    """A seal from its file; with a public key only one that was signed with its other half. Raises `BadSeal`."""
    try:
        found = Seal.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        line = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise BadSeal(f"{path} is not a seal: {line}") from error
    if found.digest() != found.seal:
        raise BadSeal(f"{path} was changed: its digest is not that of its origins")
    if public_key is not None:
        _check_signature(path, found, public_key)
    return found


def check(store: Store, sealed: Seal) -> list[Fault]:
    """Where a session is no longer what was sealed. Its chains must have been verified besides."""
    faults = []
    for origin in sealed.origins:
        found = link_at(store, sealed.session_id, origin.origin, origin.events)
        if found is None or found.hex() != origin.link:
            what = "has fewer events than were sealed" if found is None else "was rebuilt since it was sealed"
            message = f"session {sealed.session_id!r}, origin {origin.origin!r}: {what}"
            kind: Literal["removed", "changed"] = "removed" if found is None else "changed"
            faults.append(Fault(sealed.session_id, origin.origin, origin.events - 1, kind, message))
    return faults


def _signed(digest: str) -> bytes:
    return f"turnlog seal 1:{digest}".encode()


def _check_signature(path: Path, sealed: Seal, public_key: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    if sealed.signature is None:
        raise BadSeal(f"{path} is not signed")
    key = _load(public_key, "public")
    try:
        key.verify(base64.b64decode(sealed.signature, validate=True), _signed(sealed.seal))
    except (InvalidSignature, binascii.Error) as error:
        raise BadSeal(f"{path} was not signed with the key that belongs to {public_key}") from error


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
