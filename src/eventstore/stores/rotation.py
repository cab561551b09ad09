"""Rotation of the master key: the sessions' keys stay the same and are re-wrapped.

Each batch is one transaction, so a session's key is always wrapped under exactly one of the two master keys, and an
interrupted rotation can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventstore.errors import StoreError
from eventstore.stores.base import Ledger
from eventstore.stores.encrypted import MasterKey
from eventstore.stores.records import Key

BATCH = 200
"""Number of keys re-wrapped in one transaction."""


class SkippedSession(NamedTuple):
    """A session whose key could not be re-wrapped."""

    session_id: str
    reason: str


class Rotation(NamedTuple):
    rewrapped: int
    kept: int
    """Number of keys that were under the new master key already."""
    left: list[SkippedSession]


def rotate(
    ledger: Ledger,
    old: Sequence[MasterKey],
    new: MasterKey,
    advance: Callable[[int], None] = lambda _keys: None,
    batch: int = BATCH,
) -> Rotation:
    """Re-wrap under ``new`` every session key that one of ``old`` unwraps; ``advance`` gets the size of each batch.

    Destroyed keys stay destroyed. At the end the old wrapped keys are scrubbed from the database's files, including
    those of an interrupted earlier rotation. Raises `StoreUnavailable` if other processes still read them.
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
                left.append(SkippedSession(key.session_id, f"wrapped under a different master key ({key.master})"))
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
    assert key.wrapped is not None, "keys() excludes destroyed keys"
    return Key(key.session_id, new.fingerprint, new.wrap(key.session_id, old.unwrap(key.session_id, key.wrapped)))


def _begun_under_old_keys(ledger: Ledger, old: set[str], left: list[SkippedSession]) -> list[SkippedSession]:
    """Sessions that recorders began under an old key during the rotation."""
    masters = ledger.masters()
    if old.isdisjoint(masters):
        return []
    known = {each.session_id for each in left}
    late, after = [], ""
    while keys := ledger.keys(after):
        late += [key for key in keys if key.master in old and key.session_id not in known]
        after = keys[-1].session_id
    return [SkippedSession(key.session_id, "begun under the old master key: rotate again") for key in late]
