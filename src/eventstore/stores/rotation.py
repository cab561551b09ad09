"""Rotating the master key: the sessions' own keys stay, and are wrapped anew.

Each batch is one transaction, so at any moment a session's key is wrapped under one of both master keys, and an
interrupted rotation goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventstore.errors import StoreError
from eventstore.stores.base import Ledger
from eventstore.stores.encrypted import MasterKey
from eventstore.stores.records import Key

BATCH = 200
"""How many keys are wrapped anew in one transaction."""


class SkippedSession(NamedTuple):
    """A session whose key is still not under the new master key."""

    session_id: str
    why: str


class Rotation(NamedTuple):
    rewrapped: int
    kept: int
    """Were under the new master key already."""
    left: list[SkippedSession]


def rotate(
    ledger: Ledger,
    old: Sequence[MasterKey],
    new: MasterKey,
    advance: Callable[[int], None] = lambda _keys: None,
    batch: int = BATCH,
) -> Rotation:
    """Wrap under ``new`` every session's key that one of ``old`` unwraps; ``advance`` gets how many were looked at.

    Destroyed keys stay destroyed. What the keys were wrapped as is scrubbed from the database's files at the end, also
    if an earlier rotation was interrupted before it. Raises `StoreUnavailable` if other processes keep it in use.
    """
    by_fingerprint = {master.fingerprint: master for master in old}
    rewrapped = kept = 0
    left: list[SkippedSession] = []
    after = ""
    while keys := ledger.keys(after, batch):
        pairs = []
        for key in keys:
            if key.master == new.fingerprint:
                kept += 1
            elif key.master not in by_fingerprint:
                left.append(SkippedSession(key.session_id, f"under another master key ({key.master})"))
            else:
                try:
                    pairs.append((key, _rewrap(key, by_fingerprint[key.master], new)))
                except StoreError as error:
                    left.append(SkippedSession(key.session_id, str(error)))
        rewrapped += ledger.rewrap(pairs)
        after = keys[-1].session_id
        advance(len(keys))
    ledger.scrub()
    return Rotation(
        rewrapped, kept, left + _begun_under_old_keys(ledger, by_fingerprint.keys() - {new.fingerprint}, left)
    )


def _rewrap(key: Key, old: MasterKey, new: MasterKey) -> Key:
    assert key.wrapped is not None, "destroyed keys are not among them"
    return Key(key.session_id, new.fingerprint, new.wrap(key.session_id, old.unwrap(key.session_id, key.wrapped)))


def _begun_under_old_keys(ledger: Ledger, old: set[str], left: list[SkippedSession]) -> list[SkippedSession]:
    """Sessions that recorders have begun under an old key while this went on."""
    masters = ledger.masters()
    if old.isdisjoint(masters):
        return []
    known = {each.session_id for each in left}
    late, after = [], ""
    while keys := ledger.keys(after):
        late += [key for key in keys if key.master in old and key.session_id not in known]
        after = keys[-1].session_id
    return [SkippedSession(key.session_id, "begun meanwhile under the old master key: rotate again") for key in late]
