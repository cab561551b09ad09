"""The playground's stream: what the reference publishes on the room's topic while a call is going on.

Each message has an id, made of the event that caused it: ``ORIGIN:SEQ:N``, the ``N``-th message of that event.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from eventstore.errors import StoreUnavailable
from eventstore.event import Event
from eventstore.stores.base import Store
from projections.reference import rules as rule_sets
from projections.reference.fold import begin, fold
from projections.reference.rules import VIDEOSDK_1_0, Rules
from projections.reference.state import PlaygroundMessage

log = logging.getLogger("turnlog.playground")

TOPIC = "AGENT_METRICS"
"""The reference's, on the room's PubSub channel."""
RETRY_SECONDS = 1.0
"""Until a database that has gone away is asked again."""


class Published(NamedTuple):
    """A message and what it is known by."""

    id: str
    message: dict[str, Any]


Callback = Callable[[Published], object]


def message(of: PlaygroundMessage) -> dict[str, Any]:
    """As the reference publishes it; its metrics are a JSON text in it.

    ``type`` is always ``cascading``: the reference has ``realtime`` too, which nothing in it ever sends.
    """
    metrics = _in_order(of.metrics) if of.full_turn_data else of.metrics
    return {"type": "cascading", "metrics": json.dumps(metrics), "full_turn_data": of.full_turn_data}


def _in_order(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn's fields in the order in which the reference writes them: the sounds come after the session."""
    sounds = {name: value for name, value in turn.items() if name.startswith(("background_audio_", "thinking_audio_"))}
    return {name: value for name, value in turn.items() if name not in sounds} | sounds


def published(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Published]:
    """The messages of a session's events, in canonical order. Raises as `projections.reference.fold` does."""
    return _Stream(rules).fold(list(events))


def messages(
    store: Store,
    session_id: str,
    *,
    after: str | None = None,
    rules: str | Rules = VIDEOSDK_1_0,
    stop: threading.Event | None = None,
) -> Iterator[Published]:
    """Catch up with a session, then stay: each message once, as soon as its event is stored. Ends when ``stop`` is set.

    ``after`` is the id of a message: only what stands behind it in a replay comes. If no message has it, all come.

    While one recorder at a time records the session, the order is that of a replay. With several at once, an event may
    be stored after others that it precedes. Then the session is replayed, and what its event publishes is told late;
    a message that was told before is not told again, even if the replay now makes other numbers of it.
    """
    stop, stream = stop or threading.Event(), _Stream(rules)
    position: str | None = None
    while not stop.is_set():
        try:
            for followed in store.follow(position, session_id=session_id, stop=stop):
                new = stream.take(followed.event, store)
                if position is None and after is not None:
                    new = _behind(after, new)
                position = followed.position
                yield from new
        except StoreUnavailable as error:
            log.warning("playground of session %s: will go on when the database is back: %s", session_id, error)
            stop.wait(RETRY_SECONDS)


def _behind(after: str | None, found: list[Published]) -> list[Published]:
    """At first a whole session is replayed, so ``after`` is among its messages if there ever was one."""
    at = next((n for n, one in enumerate(found, 1) if one.id == after), 0)
    return found[at:]


class _Stream:
    """A fold of a session that goes on, and what it has told."""

    def __init__(self, rules: str | Rules) -> None:
        self._rules = rule_sets.find_rules(rules)
        self._begin()
        self._told: set[str] = set()

    def _begin(self) -> None:
        self._state = begin(self._rules, spans=False)
        self._folded: list[tuple[str, int]] = []
        """Origin and ``seq`` of the events, as they were folded."""
        self._known: set[tuple[str, int]] = set()

    def take(self, event: Event, store: Store) -> list[Published]:
        """What is new with an event that ``store`` has now."""
        if (event.origin, event.seq) in self._known:
            return []
        if event.origin == self._state.origin and event.seq > self._state.last_seq:
            return self.fold([event])  # behind the last of all, so in canonical order
        events = list(store.read(event.session_id))
        self._begin()
        return self.fold(events)

    def fold(self, events: list[Event]) -> list[Published]:
        """What is new with events that come behind those folded so far."""
        names = [(event.origin, event.seq) for event in events]
        self._folded += names
        self._known.update(names)
        fold(self._state, events)
        made, self._state.playground = self._state.playground, []
        found, last, number = [], -1, 0
        for one in made:
            number = number + 1 if one.at == last else 0
            last = one.at
            origin, seq = self._folded[one.at]
            name = f"{quote(origin, safe='')}:{seq}:{number}"
            if name not in self._told:
                self._told.add(name)
                found.append(Published(name, message(one)))
        return found


class Attachment:
    """A thread that hands a session's messages to a callback. What the callback raises is counted, and it goes on."""

    def __init__(self, source: Callable[[threading.Event], Iterator[Published]], callback: Callback) -> None:
        """``source`` gives messages until the event it is handed is set."""
        self.failed = 0
        """Messages over which the callback raised."""
        self.last_error: str | None = None
        self._source, self._callback, self._stop = source, callback, threading.Event()
        self._thread = threading.Thread(target=self._run, name="turnlog-playground", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """False once it is closed, or if the session cannot be followed any more (`last_error` says why)."""
        return self._thread.is_alive()

    def close(self, timeout: float = 10.0) -> bool:
        """End it; False if the callback still runs after ``timeout`` seconds."""
        self._stop.set()
        if threading.current_thread() is not self._thread:  # a callback may close its own
            self._thread.join(timeout)
        return not self.running

    def _run(self) -> None:
        try:
            for one in self._source(self._stop):
                if self._stop.is_set():
                    return
                try:
                    self._callback(one)
                except Exception as error:  # noqa: BLE001 - a guest's
                    self.failed += 1
                    self.last_error = f"{type(error).__name__}: {error}"
                    log.warning("playground: the callback raised over message %s: %s", one.id, self.last_error)
        except Exception as error:  # noqa: BLE001 - nobody else would see it
            self.last_error = f"{type(error).__name__}: {error}"
            log.error("playground: the stream has ended: %s", self.last_error)


def attach_playground(
    store: Store,
    session_id: str,
    callback: Callback,
    *,
    after: str | None = None,
    rules: str | Rules = VIDEOSDK_1_0,
) -> Attachment:
    """Have ``callback`` called with each of the session's `messages`, in a thread of its own.

    It reads the log, so a recorder neither knows of it nor waits for it. `Attachment.close` ends it.
    """
    found = rule_sets.find_rules(rules)
    return Attachment(lambda stop: messages(store, session_id, after=after, rules=found, stop=stop), callback)


def sse(one: Published | None) -> bytes:
    """A message as a Server-Sent Event. A None becomes a comment, which shows both ends that the other is there.

    A client that comes back says the last ``id`` it had in ``Last-Event-ID``: what `messages` takes as ``after``.
    """
    if one is None:
        return b":\n\n"
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (one.id.encode(), TOPIC.encode(), orjson.dumps(one.message))
