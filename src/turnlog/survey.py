"""Commands over many sessions: one that cannot be replayed is reported, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from eventstore.errors import StoreUnavailable, TurnlogError
from projections.boundary import replaying
from projections.reference.rules import UnknownRules
from turnlog.terminal import plural, say

S = TypeVar("S")
T = TypeVar("T")


class NotReplayed(TurnlogError):
    """Some of the sessions could not be replayed."""


class Survey:
    """Goes through sessions one by one and collects those that fail."""

    def __init__(self, *, alone: bool = False, quiet: bool = False) -> None:
        """``alone``: there is only one session, and its error is raised unchanged.

        ``quiet``: sessions that fail are only left out.
        """
        self.alone = alone
        self.quiet = quiet
        self.seen: set[str] = set()
        self.failed: set[str] = set()

    def each(self, names: Iterable[str], make: Callable[[str], T]) -> Iterator[tuple[str, T]]:
        """Each session with the result of ``make``; those that fail are reported on standard error and left out.

        An error that is not the session's (a lost database, unknown rules) is raised.
        """
        return self.each_of(((name, name) for name in names), lambda _name, name: make(name))

    def each_of(self, found: Iterable[tuple[str, S]], make: Callable[[str, S], T]) -> Iterator[tuple[str, T]]:
        """As `each`, for sessions that come with what the result is made of, as from `Store.read_many`."""
        for name, source in found:
            self.seen.add(name)
            try:
                with replaying(name):
                    made = make(name, source)
            except (StoreUnavailable, UnknownRules):
                raise
            except TurnlogError as error:
                if self.alone:
                    raise
                self.fail(name, error)
                continue
            yield name, made

    def fail(self, name: str, error: TurnlogError) -> None:
        """Report a session and its error."""
        self.failed.add(name)
        if not self.quiet:
            text = str(error)
            say(text if repr(name) in text else f"session {name!r}: {text}", err=True)

    def finish(self) -> None:
        """Raises `NotReplayed` if any session failed; to be called once the rest is done."""
        if self.failed and not self.quiet:
            counted = f"{len(self.failed)} of {plural(len(self.seen), 'session')}"
            raise NotReplayed(f"{counted} failed; see the lines above")
