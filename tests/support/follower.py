"""A follower of a store, in a thread."""

from __future__ import annotations

import threading

from eventstore import Store
from eventstore.stores.base import Followed


class Follower:
    """Follows in a thread, and can be waited for."""

    def __init__(self, store: Store, after: str | None = None, session_id: str | None = None) -> None:
        self.stop, self.seen, self._changed = threading.Event(), list[Followed](), threading.Condition()
        self._events = store.follow(after, session_id=session_id, stop=self.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)  # a failed test does not wait for it
        self._thread.start()

    def _run(self) -> None:
        for followed in self._events:
            with self._changed:
                self.seen.append(followed)
                self._changed.notify_all()

    def wait_for(self, count: int) -> list[Followed]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, 60), f"{len(self.seen)} of {count}"
            return list(self.seen)

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
