"""The states of a call: what each event, or each few events, changes in its document.

Each state is a replay of its own, so that it is the one that a served page shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from eventstore.event import Event
from turnlog.viewer.call.delta import Delta, delta
from turnlog.viewer.call.document import Document, state_document

REPLAYED = 1_000_000
"""Number of events that are replayed for all states of a call, about: they take half a minute."""
Step = Callable[[int, int], None]
"""Called with the number of events done, and of all."""


def stride(events: int) -> int:
    """The number of events between two states of a call: 1 up to some 1,400 events, 800 for 40,000."""
    return max(1, -(-(events**2) // (2 * REPLAYED)))


def states(events: Sequence[Event], every: int, rules: str, step: Step) -> Iterator[Delta]:
    """What each stretch of ``every`` events changes."""
    before: Document = {"turns": [], "spans": []}
    for count in range(every, len(events), every):
        after = state_document(events[:count], rules)
        yield delta(before, after)
        before = after
        step(count, len(events))
