"""Following a log on Postgres.

Each row has the id of its transaction. A transaction may commit after one that began later, so a reader ordered by
position would skip its rows. A follower is ordered by ``(xid, position)`` and stops at the oldest open transaction.

A promoted replica assigns again the ids of transactions that it did not receive. A follower's position therefore names
the log's timeline too: if a later one began at or before its transaction, it resumes where that timeline began.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Event as Flag
from typing import Any

import psycopg

from eventstore.event import Event
from eventstore.stores import schema
from eventstore.stores.base import Followed
from eventstore.stores.postgres.connection import is_pooled

log = logging.getLogger("turnlog")

_FIELDS = ", ".join(schema.FIELDS)
# The server's timeline, where to resume if it does not have the follower's transaction, and the next events: in one
# snapshot. Unqualified `xid` would be the selected text, in which 1000 sorts before 999.
_FOLLOW = f"""
SELECT timeline, fork, e.* FROM (
    SELECT max(id) AS timeline, LEAST(
        min(first_xid) FILTER (WHERE id > %(timeline)s),
        CASE WHEN NOT pg_is_in_recovery() THEN pg_snapshot_xmax(pg_current_snapshot())::text::int8 END) AS fork
    FROM timelines) log
LEFT JOIN LATERAL (
    SELECT events.xid::text, position, session_id, origin, {_FIELDS} FROM events JOIN origins ON id = origin_id
    WHERE (events.xid, position) > (
            LEAST(fork, %(xid)s)::text::xid8, CASE WHEN fork <= %(xid)s THEN 0 ELSE %(position)s END)
        AND events.xid < pg_snapshot_xmin(pg_current_snapshot())
        AND (%(session)s::text IS NULL OR session_id = %(session)s)
    ORDER BY events.xid, position LIMIT {schema.FOLLOW_BATCH}) e ON true
"""
_IN_RECOVERY = "SELECT pg_is_in_recovery()"
CHANNEL = "turnlog"
POLL_SECONDS = 0.1
"""How long a follower waits for a notification before it polls."""


def follow(
    driver: psycopg.Connection[Any], after: str | None, session_id: str | None, stop: Flag | None
) -> Iterator[Followed]:
    """See `Store.follow`. Only polls behind a pooler, where LISTEN does not persist, and on a replica."""
    stop = stop or Flag()
    timeline, xid, position = schema.parse_cursor(after, 3)
    listening = driver.execute(_IN_RECOVERY).fetchone() == (False,) and not is_pooled(driver)
    if listening:
        driver.execute(f"LISTEN {CHANNEL}")
    try:
        while not stop.is_set():
            at = {"timeline": timeline or None, "xid": xid, "position": position, "session": session_id}
            rows = driver.execute(_FOLLOW, at).fetchall()
            timeline, fork = rows[0][:2]
            if fork is not None and fork <= xid:
                log.warning("transaction %d, which a follower has read, is unknown to the server: it lost transactions "
                            "in a failover; following resumes at transaction %d", xid, fork)  # fmt: skip
                xid, position = fork, 0
            found = [row[2:] for row in rows if row[2] is not None]
            for row in found:
                xid, position = int(row[0]), row[1]
                yield Followed(f"{timeline}:{xid}:{position}", Event(*row[2:]))
            if not found and listening:
                for _notification in driver.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
            elif not found:
                stop.wait(POLL_SECONDS)
    finally:
        if listening and not driver.closed:
            driver.execute("UNLISTEN *")
