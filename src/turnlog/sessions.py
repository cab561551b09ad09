"""Opens the log at a URL or path and finds sessions in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from eventstore.errors import StoreError, TurnlogError
from eventstore.event import Event
from eventstore.stores.base import Session, Store
from eventstore.stores.factory import open_store
from exporters.archive.libraries import need


class UnknownSession(TurnlogError):
    """The log has no session with this name."""


def display_name(where: str) -> str:
    """The display form of a database URL or path: an absolute path, or the URL without passwords."""
    if "://" not in where:
        return where if where == "memory:" else str(Path(where).expanduser().absolute())
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from eventstore.stores.url import without_passwords

    try:
        parsed = make_url(where)
    except (ArgumentError, ValueError):
        return f"{where.partition(':')[0]}://…"  # in an unparsable URL a password may be anywhere
    if parsed.drivername.startswith("sqlite"):
        path = parsed.database or ""
        return path if path.startswith("file:") else str(Path(path).absolute())
    return without_passwords(parsed)


def open_existing(where: str, option: str = "--db") -> Store:
    """The existing store at a URL or path. Raises `StoreError`, naming the ``option`` that picks a log."""
    if not exists(where):
        path = where.removeprefix("sqlite:///")
        raise StoreError(
            f"no database at {path}; pass {option} URL, or create one with `turnlog import FILE` or a Recorder"
        )
    return open_log(where)


class ArchiveOpening:
    """Opens an archive, also in a process that it is pickled to. (A function's repr would show a password.)"""

    def __init__(self, archive: str, log: str | None) -> None:
        """``log``: where the keys are."""
        self._archive, self._log = archive, log

    def __call__(self) -> Store:
        """The archive as a store. With a master key its content is decrypted, if there is a log with the keys.

        Raises `StoreError`, `MissingExtra`.
        """
        need("archive", "pyarrow", "fsspec")
        from eventstore.stores.encrypted import MASTER_KEY, with_encryption
        from exporters.archive.store import ArchiveStore

        master_key = os.environ.get(MASTER_KEY) or None
        log = open_existing(self._log) if master_key is not None and self._log is not None else None
        store = with_encryption(ArchiveStore(self._archive, log), master_key if log is not None else None)
        store.reopen = self
        return store


def exists(where: str) -> bool:
    """Whether there is a database at a URL or path, as far as that is known without connecting to a server."""
    path = where.removeprefix("sqlite:///") if where.startswith("sqlite:///") else where
    return "://" in path or path.startswith("file:") or Path(path).expanduser().exists()


def open_log(where: str, *, migrate: bool = False) -> Store:
    """The store at a URL or path, created if it is missing. Raises `StoreError` without showing a password."""
    from sqlalchemy.exc import ArgumentError

    try:
        return open_store(where, migrate=migrate)
    except (ArgumentError, ValueError):  # neither shown nor chained: it may contain the password
        raise StoreError(f"{display_name(where)} is not the URL of a database") from None


def find_session(store: Store, session: str) -> Session:
    """The session's entry in the list of sessions. Raises `UnknownSession`, suggesting the closest name."""
    sessions = {s.session_id: s for s in store.sessions()}
    if session in sessions:
        return sessions[session]
    removal = next((r for r in reversed(store.ledger.tombstones()) if r.session_id == session), None)
    near = get_close_matches(session, sessions, 1)
    hint = f"did you mean {near[0]!r}?" if near else "`turnlog sessions` lists the sessions"
    if removal is not None:
        back = f"; bring it back with: turnlog import {removal.archive}" if removal.archive else ", without an archive"
        hint = f"it was removed on {format_time(removal.removed_ns)} UTC{back}"
    raise UnknownSession(f"unknown session {session!r}; {hint}")


def events_of(session: str, read: Iterable[Event]) -> list[Event]:
    """The events of a session that `Store.read_many` has read. Raises `UnknownSession` if it was removed meanwhile."""
    events = list(read)
    if not events:
        raise UnknownSession(f"session {session!r} has no events any more")
    return events


def need_session(store: Store, session: str) -> None:
    """Raise `UnknownSession`, suggesting the closest name, if the log has no event of the session."""
    for _first in store.read(session):
        return
    find_session(store, session)


def read_session(store: Store, session: str) -> list[Event]:
    """The session's events. Raises `UnknownSession`, suggesting the closest name."""
    events = list(store.read(session))
    if not events:
        find_session(store, session)
    return events


def format_time(wall_ns: int) -> str:
    """A wall-clock time as ``2026-03-01 12:30:00``, in UTC."""
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


class BadDate(TurnlogError):
    """A date or time is malformed."""


def parse_date_ns(text: str) -> int:
    """``2026-03-01`` or ``2026-03-01T12:30+01:00`` in nanoseconds since the epoch; UTC by default.

    Raises `BadDate`.
    """
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise BadDate(f"{text!r} is not a date; write 2026-03-01 or 2026-03-01T12:30+01:00") from None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    since = date - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def started_between(sessions: Sequence[Session], since_ns: int | None, until_ns: int | None) -> list[Session]:
    """The sessions that started at or after ``since_ns`` and before ``until_ns``, oldest first."""
    chosen = [
        s
        for s in sessions
        if (since_ns is None or s.started_ns >= since_ns) and (until_ns is None or s.started_ns < until_ns)
    ]
    return sorted(chosen, key=lambda s: (s.started_ns, s.session_id))
