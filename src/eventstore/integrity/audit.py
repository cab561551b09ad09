"""Untrusting reads of a database: values of any type in any column, invalid UTF-8, orphaned rows.

`Store` may trust the schema; `eventstore.integrity.session` and `eventstore.integrity.log` may not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection

from eventstore.stores.base import Store
from eventstore.stores.ledger import SqlLedger

_BATCH = 5000


class Head(NamedTuple):
    """A row of ``origins``, with values of any type."""

    id: Any
    session_id: Any
    origin: Any
    events: Any
    link: Any


class Audit:
    """Reads an SQL database without trusting it. Invalid UTF-8 is returned with surrogate escapes (PEP 383)."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.sqlite = ledger.engine.dialect.name == "sqlite"

    def rows(self, sql: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        """Stream the rows of a query; ``?`` marks a parameter. Raises `StoreError`."""
        with self._ledger.errors(), closing(self._ledger.engine.raw_connection()) as connection:
            driver: Any = connection.driver_connection
            if self.sqlite:
                before, driver.text_factory = driver.text_factory, _text
                try:
                    yield from driver.execute(sql, parameters)
                finally:
                    driver.text_factory = before
            else:
                with driver.cursor("audit") as cursor:
                    cursor.itersize = _BATCH
                    yield from cursor.execute(sql.replace("?", "%s"), parameters or None)

    @contextmanager
    def scratch(self) -> Iterator[Connection]:
        """A connection in a transaction that is rolled back at the end. Raises `StoreError`."""
        with self._ledger.errors(), self._ledger.engine.connect() as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    def heads(self, session_id: str | None = None) -> Iterator[Head]:
        """All origins, or those of a session, ordered by session and name."""
        where = "" if session_id is None else " WHERE session_id = ?"
        binary = "" if self.sqlite else ' COLLATE "C"'
        select = f"SELECT id, session_id, origin, events, link FROM origins{where}"
        found = self.rows(
            f"{select} ORDER BY session_id{binary}, origin{binary}", *([] if session_id is None else [session_id])
        )
        return (Head(*row) for row in found)

    def empty_heads(self, session_id: str) -> Iterator[tuple[Head, int]]:
        """The session's origins whose row says 0 events, each with the number of events it really has.

        Uses one statement, as recorders may be active.
        """
        count = "(SELECT COUNT(*) FROM events e WHERE e.origin_id = o.id)"
        select = f"SELECT id, session_id, origin, events, link, {count} FROM origins o"
        for *head, rows in self.rows(f"{select} WHERE session_id = ? AND NOT events > 0 ORDER BY id", session_id):
            yield Head(*head), rows


def audit(store: Store) -> Audit | None:
    """An `Audit` of the store's database; None if it has none (`MemoryStore`)."""
    return Audit(store.ledger) if isinstance(store.ledger, SqlLedger) else None


def is_valid_text(value: object) -> bool:
    """Whether the value is a string of valid UTF-8."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(value: object) -> str:
    """The value as text that can be encoded as UTF-8."""
    text = value if isinstance(value, str) else repr(value)
    return text.encode("utf-8", "backslashreplace").decode()


_text = partial(str, encoding="utf-8", errors="surrogateescape")
