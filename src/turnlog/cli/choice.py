"""Selects the sessions that a command works on."""

from __future__ import annotations

from eventstore.stores.base import Session, Store
from turnlog.cli.common import BadChoice
from turnlog.sessions import find_session, parse_date_ns, started_between


def named_sessions(store: Store, sessions: list[str] | None, every: bool) -> list[str]:
    """The sessions to write, without duplicates, looked up before any is written. Raises `UnknownSession`."""
    if every == bool(sessions):
        raise BadChoice("name at least one session, or pass --all")
    recorded = [session.session_id for session in store.sessions()]
    if every:
        return recorded[::-1]
    requested = list(dict.fromkeys(sessions or ()))
    for name in requested:
        if name not in recorded:
            find_session(store, name)
    return requested


def select_sessions(store: Store, names: list[str] | None, since: str | None, until: str | None) -> list[Session]:
    """The selected sessions without duplicates, oldest first. Raises `UnknownSession` and `BadDate`."""
    begin, end = (parse_date_ns(text) if text is not None else None for text in (since, until))
    recorded = store.sessions()
    if names:
        by_name = {session.session_id: session for session in recorded}
        recorded = [by_name[name] if name in by_name else find_session(store, name) for name in dict.fromkeys(names)]
    return started_between(recorded, begin, end)
