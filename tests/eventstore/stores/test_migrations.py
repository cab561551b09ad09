"""Every earlier schema, with data, can be upgraded to the current one and downgraded, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from eventstore import open_store
from eventstore.integrity.session import verify
from eventstore.stores import schema
from eventstore.stores.records import Cursor, Key
from support.events import event

CONFIG = Path(schema.__file__).resolve().parents[3] / "alembic.ini"
OLD = [event(n, origin=origin) for n in range(3) for origin in ("a", "b")] + [event(0, session="t", payload='{"k":1}')]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/calls.db"


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def alembic(connection: Connection) -> Config:
    config = Config(CONFIG)
    config.attributes["connection"] = connection
    return config


def fill_0001(connection: Connection) -> None:
    columns = ("session_id", "origin", "seq", *schema.FIELDS[1:])
    insert = f"INSERT INTO events ({', '.join(columns)}) VALUES ({', '.join(f':{c}' for c in columns)})"
    for old in OLD:
        connection.execute(text(insert), {c: getattr(old, c) for c in columns})


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(Config(CONFIG)).get_current_head() == schema.HEAD


def test_from_0001_with_data(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(alembic(connection), "0001")
        fill_0001(connection)
        before = connection.execute(text("SELECT position, session_id, origin, seq FROM events ORDER BY 1")).all()
    engine.dispose()
    store = open_store(url, migrate=True)
    assert {e for s in ("s", "t") for e in store.read(s)} == set(OLD)
    assert verify(store, "s") == verify(store, "t") == []
    positions = list(store.append(OLD))
    assert positions == [row[0] for row in before]
    assert store.append([event(3, origin="a")])[0] > max(positions)
    assert verify(store, "s") == []
    store.close()


def test_down_and_up_again_with_data(url: str) -> None:
    store = open_store(url, migrate=True)
    positions = list(store.append(OLD))
    seals = [[origin.link for origin, _ in store.chains(s)] for s in ("s", "t")]
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        command.downgrade(alembic(connection), "0001")
        rows = connection.execute(
            text(f"SELECT session_id, origin, {', '.join(schema.FIELDS)} FROM events ORDER BY position")
        )
        assert [tuple(row) for row in rows] == [
            (e.session_id, e.origin, *(getattr(e, f) for f in schema.FIELDS)) for e in OLD
        ]
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text("DELETE FROM events"))
    engine.dispose()
    store = open_store(url, migrate=True)
    assert list(store.append(OLD)) == positions
    assert [[origin.link for origin, _ in store.chains(s)] for s in ("s", "t")] == seals
    store.close()


def test_from_0002_with_data(url: str) -> None:
    store = open_store(url, migrate=True)
    positions = list(store.append(OLD))
    store.ledger.add_key(Key("s", "m", b"wrapped"))
    store.ledger.save_cursor(Cursor("x", "s", 1))
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        command.downgrade(alembic(connection), "0002")
    engine.dispose()
    store = open_store(url, migrate=True)
    assert list(store.append(OLD[:-1])) == positions[:-1], "all but one whose argument no hook has: it needs a key"
    assert store.ledger.key("s") == Key("s", "m", b"wrapped")
    assert store.ledger.cursors() == []
    assert verify(store, "s") == []
    store.close()


def test_down_to_nothing_and_up(connection: Connection) -> None:
    config = alembic(connection)
    command.upgrade(config, "head")
    command.downgrade(config, "base")
    assert schema.revision(connection) is None
    command.upgrade(config, "head")
    assert schema.revision(connection) == schema.HEAD


def test_a_log_with_encrypted_sessions_does_not_go_down(connection: Connection) -> None:
    config = alembic(connection)
    command.upgrade(config, "head")
    connection.execute(text("INSERT INTO keys (session_id, master, wrapped) VALUES ('s', 'm', '')"))
    with pytest.raises(RuntimeError, match="encrypted"):
        command.downgrade(config, "0001")
