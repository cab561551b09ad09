"""Imported once by the process that all children are forked from: what would be imported late is imported here."""

from __future__ import annotations

import logging
import tempfile

import psycopg  # noqa: F401

import soak.disk
import soak.many
import soak.million
import soak.operations  # noqa: F401
import test_delivery  # noqa: F401
from eventstore import open_store, recover
from eventstore.stores.encrypted import forget
from soak.places import KEY
from turnlog import Recorder
from turnlog.archive.retention import retire

logging.getLogger("turnlog").setLevel(logging.CRITICAL)  # what it says of damage and kills is expected here
with tempfile.TemporaryDirectory() as folder:
    store = open_store(f"{folder}/calls.db", master_key=KEY)
    with Recorder(store, "s") as recorder:
        recorder.set_user_transcript("hello")
    recover(store, store.journal)  # type: ignore[arg-type]
    forget(store, "s")
    list(retire(store, store.sessions(), None))
    store.close()
