"""Migrations that are killed: a log of the first schema becomes one of today's, or stays what it was."""

from __future__ import annotations

import shutil
from random import Random
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from eventstore.integrity.session import verify
from eventstore.stores import schema
from soak.children import Acknowledgements
from soak.figures import Figures
from soak.operations import Operation, said
from soak.places import Place, Places

EVENTS = [said(f"session-{n // 100}", n % 100) for n in range(2000)]


def make_first(place: Place) -> None:
    """A log of the first schema, with events."""
    columns = ("session_id", "origin", *schema.FIELDS)
    insert = f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join(f':{c}' for c in columns)})"
    engine = create_engine(place.url, poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text(insert), [{c: getattr(event, c) for c in columns} for event in EVENTS])
    engine.dispose()


class Migration(Operation):
    name = "migration"

    def __init__(self, places: Places, backend: str, chance: Random, figures: Figures) -> None:
        self.places, self.chance, self.figures = places, chance, figures
        self.first = places.new(backend)
        make_first(self.first)
        self.place: Place | None = None  # type: ignore[assignment]

    def prepare(self) -> tuple[Any, ...]:
        if self.place is None:
            if self.first.backend == "postgres":
                self.place = self.places.new("postgres", make_url(self.first.url).database)
            else:
                self.place = self.places.new("sqlite")
                shutil.copy(self.first.folder / "calls.db", self.place.folder / "calls.db")
        return (self.place,)

    @staticmethod
    def work(place: Place, acks: Acknowledgements) -> None:
        place.open("").close()
        acks.write("done")

    def check(self, acknowledged: list[str]) -> None:
        engine = create_engine(self.place.url, poolclass=NullPool)
        with engine.connect() as connection:
            found = schema.revision(connection)
            rows = connection.execute(text("SELECT COUNT(*) FROM events")).scalar_one()
        engine.dispose()
        if found not in (("0001", schema.HEAD) if not acknowledged else (schema.HEAD,)):
            self.figures.fail(f"the database is at {found}, between two schemas")
        if rows != len(EVENTS):
            self.figures.lose(len(EVENTS) - rows, f"events in a migration to {found}")

    def finish(self) -> None:
        if self.place is None:
            return
        store = self.place.open("")
        sessions = [session.session_id for session in store.sessions()]
        stored = [event for name in sessions for event in store.read(name)]
        if set(stored) != set(EVENTS) or len(stored) != len(EVENTS):
            self.figures.lose(len(set(EVENTS).difference(stored)), "events of a migrated log")
        for name in sessions:
            for fault in verify(store, name):
                self.figures.fail(fault.message)
        store.close()
        self.places.remove(self.place)
        self.place = None  # type: ignore[assignment]

    def close(self) -> None:
        if self.place is not None:
            self.places.remove(self.place)
        self.places.remove(self.first)
