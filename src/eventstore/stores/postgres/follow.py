"""Following a log on Postgres.

Each row has the id of its transaction. A transaction may commit after one that began later, so a reader ordered by
position would skip its rows. A follower is ordered by ``(xid, position)`` and stops at the oldest open transaction.
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
# unqualified `xid` would be the selected text, in which 1000 sorts before 999
_FOLLOW = f"""
SELECT xid::text, position, session_id, origin, {_FIELDS} FROM events JOIN origins ON id = origin_id
WHERE (xid, position) > (%s::xid8, %s) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND (%s::text IS NULL OR session_id = %s)
ORDER BY events.xid, position LIMIT {schema.FOLLOW_BATCH}
"""
_SERVER = "SELECT pg_is_in_recovery(), pg_snapshot_xmax(pg_current_snapshot())::text"
CHANNEL = "turnlog"
POLL_SECONDS = 0.1
"""How long a follower waits for a notification before it polls."""


def follow(
    driver: psycopg.Connection[Any], after: str | None, session_id: str | None, stop: Flag | None
) -> Iterator[Followed]:
    """See `Store.follow`. Only polls behind a pooler, where LISTEN does not persist, and on a replica."""
    stop = stop or Flag()
    xid, position = schema.parse_cursor(after, 2)
    replica, following = driver.execute(_SERVER).fetchone() or (False, "0")
    if xid >= int(following) and not replica:
        log.warning("transaction %d, which a follower has read, is unknown to the server: it lost transactions in a "
                    "failover; following resumes at transaction %s", xid, following)  # fmt: skip
        xid, position = int(following), 0
    listening = not replica and not is_pooled(driver)
    if listening:
        driver.execute(f"LISTEN {CHANNEL}")
    try:
        while not stop.is_set():
            rows = driver.execute(_FOLLOW, (str(xid), position, session_id, session_id)).fetchall()
            for row in rows:
                xid, position = int(row[0]), row[1]
                yield Followed(f"{xid}:{position}", Event(*row[2:]))
            if not rows and listening:
                for _notification in driver.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
            elif not rows:
                stop.wait(POLL_SECONDS)
    finally:
        if listening and not driver.closed:
            driver.execute("UNLISTEN *")
