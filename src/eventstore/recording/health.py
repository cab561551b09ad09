"""How recording goes: what `Recorder.health` returns."""

from __future__ import annotations

from typing import NamedTuple


class Health(NamedTuple):
    """How recording goes.

    All counts but ``failed`` and ``lost`` are of the writer, which the recorders of one process, store, journal and
    durability share.
    """

    lag_seconds: float
    """How long the oldest call that is not in the store yet has waited, on the recorder's clock; 0 if none has."""
    backlog_bytes: int
    """Recorded, but not in the store yet."""
    dropped: int
    """Calls lost: the bound of the journal was reached, or the recorder was closed."""
    unjournaled: int
    """Calls that only memory held, as the disk had no room for the journal."""
    rejected: int
    """Calls the store refused for good: their identity was taken, their session is under another master key, …"""
    failed: int
    """Calls in which the recorder itself failed; they are lost, and the host went on."""
    last_error: str | None
    unredacted: int = 0
    """Calls that ``redact`` failed on; they are recorded with all their arguments ``[redacted]``."""
    set_aside: int = 0
    """Calls the store refused for good that the journal folder keeps, for `recover` to try again; those of dead
    processes included."""
    damaged: int = 0
    """Places in the journal that could not be read back; their bytes are kept beside it."""
    replaced: int = 0
    """How often the database was found to be another than the one that was written to before."""
    lost: int = 0
    """This recorder's own calls that are not in the store and will not get there by themselves: dropped, refused, or
    stored in a database that is there no more. With ``failed``, what makes `Recorder.close` say False."""
