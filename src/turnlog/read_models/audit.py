"""Comparison of stored rows with replays of their sessions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from eventstore.errors import StoreUnavailable, TurnlogError
from eventstore.stores.base import Session, Store
from eventstore.stores.records import ALL_PARTS
from projections.caller import RULES as TURNLOG
from projections.measures import SessionRow
from projections.measures.row import FIELDS, is_decodable, measures_in, speech_of
from projections.reference.rules import UnknownRules, find_rules
from turnlog.read_models.refresh import READ_TOGETHER, key_of, session_row_of
from turnlog.read_models.replaying import replay_sessions

_FIGURES = SessionRow._fields[: SessionRow._fields.index("labels")]


class Difference(NamedTuple):
    """A row that is not what a replay makes."""

    session_id: str
    message: str


def fresh_rows(store: Store, name: str | None = None) -> dict[str, list[Session]]:
    """The sessions whose rows in the log's database are read as fresh, by rule set; ``name``: only this session."""
    heads, sessions = store.heads(), {session.session_id: session for session in store.sessions()}
    found: dict[str, list[Session]] = defaultdict(list)
    for key in store.rows.stored_keys():
        head = heads.get(key.session_id)
        if name in (None, key.session_id) and head is not None and key == key_of(store, head, key.rules):
            found[key.rules].append(sessions[key.session_id])
    return found


def differences(
    store: Store,
    rows: dict[str, list[Session]],
    jobs: int = 1,
    on_replayed: Callable[[int], object] = lambda events: None,
) -> Iterator[Difference]:
    """The differences between rows and replays. Raises `StoreUnavailable`."""
    for rules, sessions in rows.items():
        if rules != TURNLOG:
            try:
                find_rules(rules)
            except UnknownRules as error:
                yield from (Difference(s.session_id, f"a row of session {s.session_id!r}: {error}") for s in sessions)
                continue
        replayed = replay_sessions(store, sessions, rules, jobs)
        for at in range(0, len(sessions), READ_TOGETHER):
            some = sessions[at : at + READ_TOGETHER]
            yield from _compare(store, some, rules, [next(replayed) for _session in some], on_replayed)


def _compare(
    store: Store,
    sessions: Sequence[Session],
    rules: str,
    results: list[SessionRow | TurnlogError],
    on_replayed: Callable[[int], object],
) -> Iterator[Difference]:
    heads = store.heads()
    keys = [key_of(store, heads[s.session_id], rules) for s in sessions if s.session_id in heads]
    stored = store.rows.read(keys, ALL_PARTS)
    for session, result in zip(sessions, results, strict=True):
        name = session.session_id
        on_replayed(session.events)
        if isinstance(result, StoreUnavailable):
            raise result
        if isinstance(result, SessionRow) and (name not in heads or result.events != heads[name].events):
            continue  # it has grown or was removed meanwhile, and so the row is stale
        where = f"the row of session {name!r} under {rules}"
        if isinstance(result, TurnlogError):
            yield Difference(name, f"{where} cannot be compared: {result}")
        elif name not in stored:
            yield Difference(name, f"{where} cannot be read: its text was changed")
        elif not is_decodable(session_row_of(stored[name]), ALL_PARTS):
            yield Difference(name, f"{where} cannot be decoded")
        elif (row := session_row_of(stored[name])) != result:
            lines = list(_differences(row, result)) or ["its bytes are not those of a replay"]
            yield from (Difference(name, f"{where}: {line}") for line in lines)


def _differences(row: SessionRow, replayed: SessionRow) -> Iterator[str]:
    """Lines that say what differs, with the value in the row and the value of the replay."""
    for name in _FIGURES:
        if getattr(row, name) != getattr(replayed, name):
            yield f"{name} is {getattr(row, name)!r}, and {getattr(replayed, name)!r} in a replay"
    pairs = zip(measures_in(row, ""), measures_in(replayed, ""), strict=False)
    for number, (stored, true) in enumerate(pairs, 1):
        for name in FIELDS:
            if getattr(stored, name) != getattr(true, name):
                yield f"turn {number}: {name} is {getattr(stored, name)!r}, and {getattr(true, name)!r} in a replay"
    if row.labels != replayed.labels:
        yield "the framework or the labels differ from those of a replay"
    for number, (stored_words, words) in enumerate(zip(speech_of(row), speech_of(replayed), strict=False), 1):
        if stored_words != words:
            yield f"turn {number}: what was said differs from a replay"
