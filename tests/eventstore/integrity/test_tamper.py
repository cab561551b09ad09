"""Attacks by an owner of the database, and which of them `verify` detects, without and with a seal of the whole log.

The table in docs/trust.md is this list. Triggers are passed by and put back, so that it is not they that are named.
"""

# ruff: noqa: E501 - an attack is a row

from __future__ import annotations

import re
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from eventstore import Event, Store, open_store
from eventstore.integrity.gaps import Gap, gaps_in
from eventstore.integrity.log import verify_log
from eventstore.integrity.session import Fault, check_session, verify
from eventstore.stores.chain import genesis, link, seal
from eventstore.stores.memory import MemoryStore
from eventstore.stores.records import Key, Tombstone
from support.events import event
from support.examples import examples
from support.program import Program
from turnlog.archive import log_seals
from turnlog.cli.commands.verify import _sessions

DOCS = Path(__file__).resolve().parents[3] / "docs" / "trust.md"
S1 = "(SELECT id FROM origins WHERE session_id = 's-1' AND origin = 'o')"
ALL_OF_S1 = "(SELECT id FROM origins WHERE session_id = 's-1')"
MINE = f"origin_id = {S1}"
COLUMNS = "origin_id, seq, hook, version, perf_ns, wall_ns, payload, link"
LINK_7 = f"(SELECT link FROM events WHERE {MINE} AND seq = 6)"
GOOD = "'" + "ab" * 32 + "'"


def fill(store: Store) -> None:
    """Two sessions, one with two origins; an encrypted one; one that retention removed."""
    store.append([event(n, session="s-1", payload=f'{{"n":{n}}}') for n in range(10)])
    store.append([event(n, session="s-1", origin="p") for n in range(5)])
    store.append([event(n, session="s-2") for n in range(5)])
    store.append([event(0, session="s-3", payload='{"$sealed":"YWJj"}')])
    store.ledger.add_key(Key("s-3", "fingerprint", b"k" * 60))
    store.append([event(n, session="s-4") for n in range(3)])
    heads = [origin for origin, _stored in store.chains("s-4")]
    store.ledger.remove(Tombstone("s-4", 3, 10**18, 10**18 + 2, seal(heads), "archive/s-4.jsonl.gz", 2 * 10**18))


def rebuild(owner: SqliteOwner | PostgresOwner) -> None:
    """Different content, with every later link recomputed."""
    run = owner.run
    ((number,),) = run(f"SELECT {S1}")
    last = genesis("s-1", "o")
    fields = "seq, hook, version, perf_ns, wall_ns, payload"
    for position, *values in run(f"SELECT position, {fields} FROM events WHERE {MINE} ORDER BY position"):
        forged = Event("s-1", "o", *values)
        forged = msgspec.structs.replace(forged, payload=forged.payload.replace('"n":3', '"n":99'))
        last = link(last, forged)
        blob = owner.BLOB.format(last.hex())
        run(f"UPDATE events SET payload = '{forged.payload}', link = {blob} WHERE position = {position}")
    run(f"UPDATE origins SET link = (SELECT link FROM events WHERE {MINE} AND seq = 9) WHERE id = {number}")


class Attack(NamedTuple):
    what: str
    alone: str
    """``yes``, ``no`` or ``SQLite``."""
    with_seal: str
    does: list[str] | Callable[[Any], None]
    kinds: str = ""
    """Kinds of faults, one of which must be reported."""
    on: str = "both"


CUT = f"DELETE FROM events WHERE {MINE} AND seq >= 7"
ATTACKS = [
    Attack("a field of an event changed", "yes", "yes", [f"UPDATE events SET wall_ns = 1 WHERE {MINE} AND seq = 3"], "changed"),
    Attack("an event removed", "yes", "yes", [f"DELETE FROM events WHERE {MINE} AND seq = 3"], "removed"),
    Attack("two events moved", "yes", "yes", [
        f"UPDATE events SET position = 1000 WHERE {MINE} AND seq = 3",
        f"UPDATE events SET position = (SELECT MIN(position) + 3 FROM events WHERE {MINE}) WHERE {MINE} AND seq = 8",
        f"UPDATE events SET position = (SELECT MIN(position) + 8 FROM events WHERE {MINE}) WHERE {MINE} AND seq = 3",
    ], "reordered"),
    Attack("an event inserted", "yes", "yes", [
        f"INSERT INTO events ({COLUMNS}) SELECT origin_id, 10, hook, 1, 1, 1, payload, link FROM events WHERE {MINE} AND seq = 9",
    ], "inserted"),
    Attack("a value of another type stored", "yes", "yes", [f"UPDATE events SET seq = 3.5 WHERE {MINE} AND seq = 3"], "changed", "sqlite"),
    Attack("text that is not UTF-8 stored", "yes", "yes", [f"UPDATE events SET payload = CAST(X'ff' AS TEXT) WHERE {MINE} AND seq = 3"], "unreadable", "sqlite"),
    Attack("an origin's name or count of another type", "yes", "yes", [f"UPDATE origins SET origin = CAST(X'ff' AS TEXT), events = 'x' WHERE id = {S1}"], "malformed", "sqlite"),
    Attack("events cut off the end", "yes", "yes", [CUT], "removed"),
    Attack("events cut off the end, the head moved back to fit", "SQLite", "yes", [
        f"UPDATE origins SET events = 7, link = {LINK_7} WHERE id = {S1}", CUT,
    ], "removed"),
    Attack("a head moved back, its events left", "yes", "yes", [f"UPDATE origins SET events = 7, link = {LINK_7} WHERE id = {S1}"], "head"),
    Attack("a head moved on", "yes", "yes", [f"UPDATE origins SET events = events + 5 WHERE id = {S1}"], "removed"),
    Attack("an origin hidden (its row says that it has no events)", "yes", "yes", [f"UPDATE origins SET events = 0 WHERE id = {S1}"], "hidden"),
    Attack("a session hidden (its rows say less than none)", "yes", "yes", ["UPDATE origins SET events = -1 WHERE session_id = 's-1'"], "hidden"),
    Attack("an origin's row removed, its events left", "yes", "yes", [f"DELETE FROM origins WHERE id = {S1}"], "orphaned"),
    Attack("events of no origin inserted", "yes", "yes", [f"INSERT INTO events ({COLUMNS}) SELECT 999, 0, hook, 1, 1, 1, payload, link FROM events WHERE {MINE} AND seq = 9"], "orphaned"),
    Attack("an origin removed whole", "SQLite", "yes", [f"DELETE FROM events WHERE {MINE}", f"DELETE FROM origins WHERE id = {S1}"], "removed"),
    Attack("a session removed whole, without a tombstone", "SQLite", "yes", [f"DELETE FROM events WHERE origin_id IN {ALL_OF_S1}", "DELETE FROM origins WHERE session_id = 's-1'"], "removed"),
    Attack("a session given another name", "yes", "yes", ["UPDATE origins SET session_id = 's-9' WHERE session_id = 's-1'"], "changed"),
    Attack("two origins' names swapped", "yes", "yes", [
        "UPDATE origins SET origin = 'q' WHERE session_id = 's-1' AND origin = 'o'",
        "UPDATE origins SET origin = 'o' WHERE session_id = 's-1' AND origin = 'p'",
        "UPDATE origins SET origin = 'p' WHERE session_id = 's-1' AND origin = 'q'",
    ], "changed"),
    Attack("a chain rebuilt with other content", "no", "yes", rebuild, "changed"),
    Attack("a trigger dropped", "yes", "yes", ["DROP TRIGGER events_no_update"], "schema", "sqlite"),
    Attack("a trigger dropped or disabled (Postgres)", "yes", "yes", ["ALTER TABLE events DISABLE TRIGGER events_no_update", "DROP TRIGGER keys_go_or_turn ON keys"], "schema", "postgres"),
    Attack("a trigger altered", "yes", "yes", [
        "DROP TRIGGER events_no_update", "CREATE TRIGGER events_no_update BEFORE UPDATE ON events WHEN 0 BEGIN SELECT 1; END",
    ], "schema", "sqlite"),
    Attack("a trigger's function altered (Postgres)", "yes", "yes", ["CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"], "schema", "postgres"),
    Attack("a trigger added", "yes", "yes", ["CREATE TRIGGER mine AFTER INSERT ON events BEGIN DELETE FROM unlocked; END"], "schema", "sqlite"),
    Attack("a rule added, or row security switched on (Postgres)", "yes", "yes", ["CREATE RULE mine AS ON DELETE TO removals DO INSTEAD NOTHING", "ALTER TABLE events ENABLE ROW LEVEL SECURITY"], "schema", "postgres"),
    Attack("a view replaced", "yes", "yes", ["DROP VIEW event_log", "CREATE VIEW event_log AS SELECT 1 AS position"], "schema"),
    Attack("a column or an index added", "yes", "yes", ["ALTER TABLE events ADD COLUMN mine TEXT", "CREATE INDEX mine ON events (mine)"], "schema"),
    Attack("the schema's version changed", "yes", "yes", ["INSERT INTO alembic_version VALUES ('0001')"], "schema"),
    Attack("a table dropped", "yes", "yes", ["DROP TABLE removals"], "schema"),
    Attack("a session left open for removal", "yes", "yes", ["INSERT INTO unlocked VALUES ('s-1')"], "unlocked"),
    Attack("a tombstone made up, in bad form", "yes", "yes", [
        "INSERT INTO removals (session_id, events, started_ns, ended_ns, seal, archive, removed_ns) VALUES ('ghost', 1, 0, 0, '00', 'x', 0)",
    ], "tombstone"),
    Attack("a tombstone made up, in good form", "SQLite", "SQLite", [
        f"INSERT INTO removals (session_id, events, started_ns, ended_ns, seal, archive, removed_ns) VALUES ('ghost', 1, 5, 6, {GOOD}, 'x', 7)",
    ], "inserted"),
    Attack("a tombstone removed", "SQLite", "yes", ["DELETE FROM removals"], "removed tombstone"),
    Attack("a tombstone's archive or times changed", "no", "yes", ["UPDATE removals SET archive = 'elsewhere'"], "tombstone"),
    Attack("a session removed, with a false tombstone", "yes", "yes", [
        f"DELETE FROM events WHERE origin_id IN {ALL_OF_S1}",
        "DELETE FROM origins WHERE session_id = 's-1'",
        "INSERT INTO removals (session_id, events, started_ns, ended_ns, seal, archive, removed_ns) VALUES ('s-1', 15, 5, 6, 'none', 'x', 7)",
    ], "tombstone"),
    Attack("a session removed, with a false tombstone in good form", "no", "yes", [
        f"DELETE FROM events WHERE origin_id IN {ALL_OF_S1}",
        "DELETE FROM origins WHERE session_id = 's-1'",
        f"INSERT INTO removals (session_id, events, started_ns, ended_ns, seal, archive, removed_ns) VALUES ('s-1', 15, 5, 6, {GOOD}, 'x', 7)",
    ], "tombstone"),
    Attack("the key of an encrypted session removed", "yes", "yes", ["DELETE FROM keys"], "key"),
    Attack("a key exchanged for another", "no", "no", ["UPDATE keys SET master = 'another'"]),
    Attack("a delivery's cursor moved", "no", "no", ["UPDATE deliveries SET done = done + 1"]),
]  # fmt: skip


class SqliteOwner:
    """Runs SQL with the triggers dropped, and restores them unless they were attacked."""

    BLOB = "X'{}'"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.triggers = self.run("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")

    def run(self, sql: str) -> list[Any]:
        return self.connection.execute(sql).fetchall()

    def attack(self, does: list[str] | Callable[[Any], None]) -> None:
        about_triggers = isinstance(does, list) and "TRIGGER" in str(does)
        for name, _sql in () if about_triggers else self.triggers:
            self.run(f"DROP TRIGGER {name}")
        for step in does if isinstance(does, list) else ():
            self.run(step)
        if callable(does):
            does(self)
        tables = {name for (name,) in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for name, sql in () if about_triggers else self.triggers:
            if name.partition("_")[0] in tables:
                self.run(sql)
        self.connection.close()


class PostgresOwner:
    BLOB = "'\\x{}'::bytea"

    def __init__(self, url: str) -> None:
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.connection = psycopg.connect(plain, autocommit=True)
        self.run("SET session_replication_role = replica")

    def run(self, sql: str) -> list[Any]:
        cursor = self.connection.execute(sql)
        return cursor.fetchall() if cursor.description else []

    def attack(self, does: list[str] | Callable[[Any], None]) -> None:
        for step in does if isinstance(does, list) else ():
            self.run(step)
        if callable(does):
            does(self)
        self.connection.close()


@pytest.fixture(scope="module")
def sqlite_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, log_seals.LogSeal]:
    path = tmp_path_factory.mktemp("log") / "base.db"
    store = open_store(path)
    fill(store)
    sealed = log_seals.seal_log(store)
    store.close()
    with sqlite3.connect(path) as connection:  # one file, to be copied
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path, sealed


@pytest.fixture(scope="module")
def postgres_log(postgres_server: str) -> Iterator[tuple[str, log_seals.LogSeal]]:
    """The URL of a template database."""
    name = f"turnlog_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    url = make_url(postgres_server).set(drivername="postgresql+psycopg", database=name)
    store = open_store(url.render_as_string(hide_password=False), migrate=True)
    fill(store)
    sealed = log_seals.seal_log(store)
    store.close()
    yield name, sealed
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def found_in(store: Store, sealed: log_seals.LogSeal | None = None) -> list[Fault]:
    """What `turnlog verify` finds."""
    faults = [fault for name in _sessions(store, None) for fault in check_session(store, name).faults]
    faults += verify_log(store).faults
    if sealed is not None:
        try:
            faults += log_seals.check_log_seal(store, sealed)[0]
        except Exception as error:
            assert "removals" in str(error)  # the table is gone; the command names it as unreadable
    return faults


def expect(attack: Attack, backend: str, alone: list[Fault], with_seal: list[Fault]) -> None:
    for named, faults in ((attack.alone, alone), (attack.with_seal, with_seal)):
        if named == "no" or (named == "SQLite" and backend == "postgres"):
            assert faults == []
        else:
            assert {fault.kind for fault in faults} & set(attack.kinds.split()), faults


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.on != "postgres"], ids=lambda attack: attack.what)
def test_on_sqlite(attack: Attack, sqlite_log: tuple[Path, log_seals.LogSeal], tmp_path: Path) -> None:
    """Break: take any check out of eventstore/integrity/log.py."""
    base, sealed = sqlite_log
    path = Path(shutil.copy(base, tmp_path / "calls.db"))
    SqliteOwner(path).attack(attack.does)
    store = open_store(path)
    try:
        expect(attack, "sqlite", found_in(store), found_in(store, sealed))
    finally:
        store.close()


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.on != "sqlite"], ids=lambda attack: attack.what)
def test_on_postgres(attack: Attack, postgres_log: tuple[str, log_seals.LogSeal], postgres_server: str) -> None:
    base, sealed = postgres_log
    name = f"turnlog_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {base}")
        url = make_url(postgres_server).set(drivername="postgresql+psycopg", database=name)
        text = url.render_as_string(hide_password=False)
        try:
            store = open_store(text)
            try:
                PostgresOwner(text).attack(attack.does)
                expect(attack, "postgres", found_in(store), found_in(store, sealed))
            finally:
                store.close()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_docs_have_this_list() -> None:
    table = DOCS.read_text().partition("| What was done |")[2].partition("\n\n")[0]
    rows = [
        tuple(cell.strip() for cell in row)
        for row in re.findall(r"^\|([^|]+)\|([^|]+)\|([^|]+)\|$", table, re.MULTILINE)
    ]
    assert rows[1:] == [(attack.what, attack.alone, attack.with_seal) for attack in ATTACKS]


def test_an_untouched_log_has_no_faults(store: Store) -> None:
    fill(store)
    sealed = log_seals.seal_log(store)
    assert found_in(store, sealed) == []
    assert verify_log(store).unchecked == []


# a single mutation, of any kind --------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 30),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.binary(max_size=40),
    st.sampled_from(["s-1", "s-2", "o", "p", "on_eou_start", "{}"]),
)
FIELDS = {
    "events": ["origin_id", "seq", "hook", "version", "perf_ns", "wall_ns", "payload", "link"],
    "origins": ["id", "session_id", "origin", "events", "link"],
}


def contents(connection: sqlite3.Connection) -> list[Any]:
    """The log as readers see it: ordered, without positions."""
    connection.text_factory = bytes
    return [
        connection.execute(
            f"SELECT {', '.join(f'quote({c})' for c in FIELDS[table])} FROM {table} ORDER BY {order}"
        ).fetchall()
        for table, order in (("events", "typeof(origin_id), origin_id, position"), ("origins", "id"))
    ]


@settings(max_examples=examples(150))
@given(st.data())
def test_any_single_mutation_is_named(
    sqlite_log: tuple[Path, log_seals.LogSeal], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Break: in eventstore/integrity/session.py, ``_check_empty_origins``, find nothing; or in log.py leave out ``orphaned_events``."""
    path = Path(shutil.copy(sqlite_log[0], tmp_path_factory.mktemp("mutated") / "calls.db"))
    connection = sqlite3.connect(path, isolation_level=None)
    before = contents(connection)
    connection.text_factory = str
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _sql in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    table = data.draw(st.sampled_from(["events", "events", "origins"]))
    key = "position" if table == "events" else "id"
    rows = [number for (number,) in connection.execute(f"SELECT {key} FROM {table}")]
    one, other = data.draw(st.sampled_from(rows)), data.draw(st.sampled_from(rows))
    column = data.draw(st.sampled_from(FIELDS[table]))
    how = data.draw(st.sampled_from(["change", "change", "change", "not UTF-8", "delete", "swap", "insert"]))
    try:
        if how == "change":
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (data.draw(VALUES), one))
        elif how == "not UTF-8":
            connection.execute(f"UPDATE {table} SET {column} = CAST(X'61ff' AS TEXT) WHERE {key} = ?", (one,))
        elif how == "delete":
            connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (one,))
        elif how == "swap":
            connection.execute(f"UPDATE {table} SET {key} = 10000 WHERE {key} = ?", (one,))
            connection.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = ?", (one, other))
            connection.execute(f"UPDATE {table} SET {key} = ? WHERE {key} = 10000", (other,))
        else:
            columns = ", ".join(c for c in FIELDS[table] if c not in (column, "id"))
            connection.execute(
                f"INSERT INTO {table} ({column}, {columns}) SELECT ?, {columns} FROM {table} WHERE {key} = ?",
                (data.draw(VALUES), one),
            )
    except (sqlite3.IntegrityError, sqlite3.OperationalError):
        connection.close()
        assume(False)  # the schema does not take it
    changed = contents(connection) != before
    for _name, sql in triggers:
        connection.execute(sql)
    connection.close()
    store = open_store(path)
    try:
        faults = found_in(store)
    finally:
        store.close()
    assert bool(faults) or not changed


# damage, and the command ---------------------------------------------------------------------------------------------


def test_a_damaged_file_is_named(sqlite_log: tuple[Path, log_seals.LogSeal], program: Program) -> None:
    """Any page may be damaged: the command ends with one line, not a traceback."""
    whole = sqlite_log[0].read_bytes()
    for page in range(1, len(whole) // 4096, 5):
        program.db.write_bytes(whole[: page * 4096] + b"\xa5" * 4096 + whole[(page + 1) * 4096 :])
        done = program.run("verify", code=1)
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("turnlog: ") or "damaged: " in done.stdout or "unreadable: " in done.stdout


def test_the_command_names_them_all(sqlite_log: tuple[Path, log_seals.LogSeal], program: Program) -> None:
    import orjson

    shutil.copy(sqlite_log[0], program.db)
    program.run("seal", "--all", "--out", "log.seal")
    SqliteOwner(program.db).attack(
        [
            f"UPDATE origins SET events = 0 WHERE id = {S1}",
            "UPDATE origins SET session_id = CAST(X'ff1b' AS TEXT) WHERE session_id = 's-2'",
            "INSERT INTO unlocked VALUES (X'00ff')",
        ]
    )
    found = orjson.loads(program.run("verify", "--json", "--seal", "log.seal", code=1).stdout)
    kinds = [fault["kind"] for fault in found["faults"]]
    assert {"hidden", "malformed", "unlocked", "removed"} <= set(kinds)
    shown = program.run("verify", "--seal", "log.seal", code=1).stdout
    assert shown.count("\n") == len(kinds) + 1
    assert "removed: session 's-2': it is gone without a tombstone; 5 events were sealed" in shown
    assert "hidden: session 's-1', origin 'o': its row says 0 events, so that readers skip the 10" in shown


# gaps ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40), max_size=40))
def test_gaps_are_what_is_missing(seqs: list[int]) -> None:
    gaps = gaps_in(event(seq) for seq in seqs)
    lost = [seq for gap in gaps for seq in range(gap.first, gap.last + 1)]
    assert lost == [seq for seq in range(max(seqs, default=0)) if seq not in seqs]
    assert all(a.last + 1 < b.first for a, b in pairwise(gaps))


def test_a_gap_is_listed_and_is_no_fault(program: Program) -> None:
    import orjson

    store = open_store(program.db)
    store.append([event(n, session="s-1") for n in (0, 1, 2, 3, 4, 8, 9)])
    store.append([event(n, session="s-1", origin="p") for n in (1, 2)])
    store.close()
    shown = program.run("verify").stdout
    assert "missing: session 's-1', origin 'o': 3 calls missing (seq 5 to 7)" in shown
    assert "missing: session 's-1', origin 'p': 1 call missing (seq 0)" in shown
    assert shown.endswith("1 session, 9 events: all hash chains valid, 4 calls missing\n")
    found = orjson.loads(program.run("verify", "--json").stdout)
    lost = [
        {"session_id": "s-1", "origin": "o", "first": 5, "last": 7, "calls": 3},
        {"session_id": "s-1", "origin": "p", "first": 0, "last": 0, "calls": 1},
    ]
    assert (found["faults"], found["gaps"]) == ([], lost)
    assert "origin 'o': 3 calls missing (seq 5 to 7)" in program.run("replay", "s-1").stdout
    assert orjson.loads(program.run("replay", "s-1", "--json").stdout)["missing"] == lost


def test_a_call_twice_in_a_rebuilt_chain_is_named() -> None:
    """The forged link is valid."""
    store = MemoryStore()
    store.append([event(n) for n in range(3)])
    stored = store._log[1]
    assert stored is not None
    tail = store._heads["s", "o"]
    tail.link = link(tail.link, stored.event)
    tail.events += 1
    store._log.append(stored._replace(link=tail.link))
    (fault,) = verify(store, "s")
    assert (fault.kind, fault.seq) == ("duplicated", 1)


def test_gaps_come_in_any_order_of_arrival(store: Store) -> None:
    store.append([event(5), event(3)])
    store.append([event(0)])
    assert check_session(store, "s").gaps == [Gap("s", "o", 1, 2), Gap("s", "o", 4, 4)]
    store.append([event(4), event(2), event(1)])
    assert check_session(store, "s") == ([], [])
