"""The event store: the vocabulary of hooks, the `Event` record, stores, the journal and the recorder."""

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
