"""Sessions from files: events are checked, and their chains recomputed, before any of them may enter a log."""

from __future__ import annotations

from eventstore.admission import Inadmissible, admit
from eventstore.event import Event
from eventstore.integrity.gaps import Seqs
from eventstore.stores.chain import Origin, genesis, link


class Incoming:
    """A session that is read from a file, event by event in storage order. Memory does not grow with it."""

    def __init__(self, session_id: str, *, admitted: bool) -> None:
        """``admitted``: the events come from this log, so admission is not checked again."""
        self._session_id, self._admitted = session_id, admitted
        self._tails: dict[str, tuple[int, bytes]] = {}
        self._seqs: dict[str, Seqs] = {}

    def add(self, event: Event) -> bytes:
        """The event's link. Raises `Inadmissible` if it is a duplicate, or no recorder can have made it."""
        if event.session_id != self._session_id:
            raise Inadmissible(f"an event of session {event.session_id!r} in session {self._session_id!r}")
        if not self._seqs.setdefault(event.origin, Seqs()).add(event.seq):
            raise Inadmissible(f"duplicate event {event.seq} of origin {event.origin!r}")
        try:
            if not self._admitted:
                admit(event)
        except Inadmissible as error:
            raise Inadmissible(f"event {str(event.seq)[:20]}: {error}") from error
        count, last = self._tails.get(event.origin) or (0, genesis(event.session_id, event.origin))
        last = link(last, event)
        self._tails[event.origin] = count + 1, last
        return last

    def origins(self) -> list[Origin]:
        """The heads of the chains."""
        return [Origin(self._session_id, name, count, last) for name, (count, last) in self._tails.items()]
