"""What happened: the vocabulary of hooks, the `Event` record, the store, the journal and the recorder."""

from eventstore.errors import TurnlogError
from eventstore.event import Event, canonical
from eventstore.recorder import Clock, Recorder
from eventstore.recovery import recover
from eventstore.store import Session, Store, open_store
from eventstore.vocabulary import HOOKS, Hook

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
