"""`Health`: the state of recording, as returned by `Recorder.health`."""

from __future__ import annotations

from typing import NamedTuple


class Health(NamedTuple):
    """The state of recording.

    All counts except ``failed``, ``unredacted`` and ``lost`` are those of the writer, which the recorders of one
    process, store, journal and durability share.
    """

    lag_seconds: float
    """Age of the oldest call that is not in the store yet, on the recorder's clock; 0 if there is none."""
    backlog_bytes: int
    """Size of the calls that are not in the store yet."""
    dropped: int
    """Calls lost because the journal was at its size limit, or the recorder was closed."""
    unjournaled: int
    """Calls kept in memory only, as the disk had no room for the journal."""
    rejected: int
    """Calls the store refused for good: their identity was taken, their session has a different master key, …"""
    failed: int
    """Calls lost because the recorder itself failed; the application was not affected."""
    last_error: str | None
    unredacted: int = 0
    """Calls that ``redact`` failed on; they are recorded with all arguments ``[redacted]``."""
    set_aside: int = 0
    """Refused calls that the journal folder keeps, for `recover` to retry; including those of dead processes."""
    damaged: int = 0
    """Damaged places in the journal; their bytes are kept beside it."""
    replaced: int = 0
    """Number of times that the database was found to be replaced."""
    lost: int = 0
    """This recorder's calls that will not reach the store without intervention: dropped, refused, or stored in a
    database that was replaced. If this or ``failed`` is not 0, `Recorder.close` returns False."""
