"""The event store: the vocabulary of hooks, the `Event` record, stores, the journal and the recorder."""

from typing import TYPE_CHECKING

from eventstore import lazy

if TYPE_CHECKING:
    from eventstore.errors import TurnlogError
    from eventstore.event import Event, canonical
    from eventstore.hooks.vocabulary import HOOKS, Hook
    from eventstore.recording.recorder import Clock, Recorder
    from eventstore.recording.recovery import recover
    from eventstore.stores.base import Session, Store
    from eventstore.stores.factory import open_store

__all__ = [
    "HOOKS",
    "Clock",
    "Event",
    "Hook",
    "Recorder",
    "Session",
    "Store",
    "TurnlogError",
    "canonical",
    "open_store",
    "recover",
]
if not TYPE_CHECKING:  # a type checker shall know the names above, and no others
    __getattr__ = lazy.names(
        __name__,
        {
            "HOOKS": "eventstore.hooks.vocabulary",
            "Clock": "eventstore.recording.recorder",
            "Event": "eventstore.event",
            "Hook": "eventstore.hooks.vocabulary",
            "Recorder": "eventstore.recording.recorder",
            "Session": "eventstore.stores.base",
            "Store": "eventstore.stores.base",
            "TurnlogError": "eventstore.errors",
            "canonical": "eventstore.event",
            "open_store": "eventstore.stores.factory",
            "recover": "eventstore.recording.recovery",
        },
    )
