"""The adapter for Pipecat."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from turnlog.adapters.pipecat.observer import TurnlogObserver

__all__ = ["TurnlogObserver"]
if not TYPE_CHECKING:  # a type checker shall know the names above, and no others
    __getattr__ = lazy.names(__name__, {"TurnlogObserver": "turnlog.adapters.pipecat.observer"})
