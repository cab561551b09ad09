"""Commands over many sessions: one that cannot be replayed is named, and does not keep the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from eventstore.errors import StoreUnavailable, TurnlogError
from projections.boundary import replaying
from projections.reference.rules import UnknownRules
from turnlog.terminal import say

T = TypeVar("T")


class NotReplayed(TurnlogError):
    """Of some of the sessions nothing could be made."""


class Survey:
    """What goes over sessions one by one, and keeps those that failed."""

    def __init__(self, *, alone: bool = False) -> None:
        """``alone``: there is but one session, and its error is raised as it is."""
        self.alone = alone
        self.seen: set[str] = set()
        self.failed: set[str] = set()

    def each(self, names: Iterable[str], make: Callable[[str], T]) -> Iterator[tuple[str, T]]:
        """Each session with what ``make`` makes of it; those that fail are named on standard error, and left out.

        What is no session's fault (a database that has gone away, rules there are not) is raised.
        """
        for name in names:
            self.seen.add(name)
            try:
                with replaying(name):
                    made = make(name)
            except (StoreUnavailable, UnknownRules):
                raise
            except TurnlogError as error:
                if self.alone:
                    raise
                self.fail(name, error)
                continue
            yield name, made

    def fail(self, name: str, error: TurnlogError) -> None:
        """Name a session and what is wrong with it."""
        text = str(error)
        say(text if repr(name) in text else f"session {name!r}: {text}", err=True)
        self.failed.add(name)

    def finish(self) -> None:
        """Raises `NotReplayed` if any session failed; to be called once the rest is done."""
        if self.failed:
            counted = f"{len(self.failed)} of {len(self.seen)} sessions"
            raise NotReplayed(f"{counted} failed, as named above; the others are done")
