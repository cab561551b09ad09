"""The playground stream: the messages that the reference publishes on the room's topic during a call.

The id of a message names the event that caused it: ``ORIGIN:SEQ:N`` is the ``N``-th message of that event.
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
"""The reference's topic on the room's PubSub channel."""
RETRY_SECONDS = 1.0
"""Pause before an unavailable database is tried again."""


class Published(NamedTuple):
    """A message with its id."""

    id: str
    message: dict[str, Any]


Callback = Callable[[Published], object]


def message(source: PlaygroundMessage) -> dict[str, Any]:
    """The message as the reference publishes it, with the metrics as JSON text.

    ``type`` is always ``cascading``: the reference also defines ``realtime`` but never sends it.
    """
    metrics = _reorder(source.metrics) if source.full_turn_data else source.metrics
    return {"type": "cascading", "metrics": json.dumps(metrics), "full_turn_data": source.full_turn_data}


def _reorder(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn's fields in the reference's order: the sounds come after the session."""
    sounds = {name: value for name, value in turn.items() if name.startswith(("background_audio_", "thinking_audio_"))}
    return {name: value for name, value in turn.items() if name not in sounds} | sounds


def published_messages(events: Iterable[Event], rules: str | Rules = VIDEOSDK_1_0) -> list[Published]:
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
    """Catch up with a session and follow it until ``stop`` is set; yield each message once, when its event is stored.

    ``after`` is the id of a message: only messages after it in a replay are yielded, or all if no message has that id.

    While one recorder at a time records the session, the order is that of a replay. With several, an event may be
    stored after events that it precedes. Then the session is replayed, and the messages of that event are yielded late;
    messages already yielded are not repeated, even if their metrics have changed.
    """
    stop, stream = stop or threading.Event(), _Stream(rules)
    position: str | None = None
    while not stop.is_set():
        try:
            for followed in store.follow(position, session_id=session_id, stop=stop):
                new = stream.add(followed.event, store)
                if position is None and after is not None:
                    new = _skip_to(after, new)
                position = followed.position
                yield from new
        except StoreUnavailable as error:
            log.warning("playground of session %s: waiting for the database: %s", session_id, error)
            stop.wait(RETRY_SECONDS)


def _skip_to(after: str | None, found: list[Published]) -> list[Published]:
    """The messages after ``after``; the first batch is a whole replay, so a known id is in it."""
    at = next((n for n, one in enumerate(found, 1) if one.id == after), 0)
    return found[at:]


class _Stream:
    """An incremental fold of a session, with the ids already published."""

    def __init__(self, rules: str | Rules) -> None:
        self._rules = rule_sets.find_rules(rules)
        self._begin()
        self._published: set[str] = set()

    def _begin(self) -> None:
        self._state = begin(self._rules, spans=False)
        self._folded: list[tuple[str, int]] = []
        """Origin and ``seq`` of the folded events, in order."""
        self._known: set[tuple[str, int]] = set()

    def add(self, event: Event, store: Store) -> list[Published]:
        """The new messages that a stored event causes."""
        if (event.origin, event.seq) in self._known:
            return []
        if event.origin == self._state.origin and event.seq > self._state.last_seq:
            return self.fold([event])  # after all others, so in canonical order
        events = list(store.read(event.session_id))
        self._begin()
        return self.fold(events)

    def fold(self, events: list[Event]) -> list[Published]:
        """The new messages of events that come after those folded so far."""
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
            if name not in self._published:
                self._published.add(name)
                found.append(Published(name, message(one)))
        return found


class Attachment:
    """A thread that passes a session's messages to a callback. Exceptions of the callback are counted, not raised."""

    def __init__(self, source: Callable[[threading.Event], Iterator[Published]], callback: Callback) -> None:
        """``source`` yields messages until the event passed to it is set."""
        self.failed = 0
        """Number of messages for which the callback raised."""
        self.last_error: str | None = None
        self._source, self._callback, self._stop = source, callback, threading.Event()
        self._thread = threading.Thread(target=self._run, name="turnlog-playground", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """False after `close`, or if the session can no longer be followed (see `last_error`)."""
        return self._thread.is_alive()

    def close(self, timeout: float = 10.0) -> bool:
        """Stop the thread; False if the callback is still running after ``timeout`` seconds."""
        self._stop.set()
        if threading.current_thread() is not self._thread:  # a callback may close its own attachment
            self._thread.join(timeout)
        return not self.running

    def _run(self) -> None:
        try:
            for one in self._source(self._stop):
                if self._stop.is_set():
                    return
                try:
                    self._callback(one)
                except Exception as error:  # noqa: BLE001 - user code
                    self.failed += 1
                    self.last_error = f"{type(error).__name__}: {error}"
                    log.warning("playground: the callback raised over message %s: %s", one.id, self.last_error)
        except Exception as error:  # noqa: BLE001 - a thread's exception would be lost
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
    """Call ``callback`` with each of the session's `messages`, in a new thread, until `Attachment.close`.

    It reads the log, so recorders are not slowed down.
    """
    found = rule_sets.find_rules(rules)
    return Attachment(lambda stop: messages(store, session_id, after=after, rules=found, stop=stop), callback)


def sse(one: Published | None) -> bytes:
    """A message as a Server-Sent Event; None becomes a comment, to keep the connection alive.

    A reconnecting client sends its last ``id`` as ``Last-Event-ID``, which `messages` takes as ``after``.
    """
    if one is None:
        return b":\n\n"
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (one.id.encode(), TOPIC.encode(), orjson.dumps(one.message))
