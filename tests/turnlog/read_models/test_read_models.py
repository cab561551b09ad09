"""Read model = replay, whatever happens to the log in between; and what becomes of rows that are wrong."""

from __future__ import annotations

import base64
import math
import sqlite3
import struct
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from eventstore import Event, Store, open_store
from eventstore.stores.base import Session
from projections.measures import SessionRow, session_row
from projections.measures.row import FIELDS, labels_of, measures_in, speech_of
from support.program import FIXTURES, Program
from turnlog.archive.forgetting import forget
from turnlog.archive.retention import retire
from turnlog.read_models import model_rows, plan, refresh, replaying
from turnlog.read_models.audit import differences, fresh_rows
from turnlog.read_models.cache import cache_path, cached_rows
from turnlog.recordings import events_of, read_recordings

MASTER = base64.b64encode(bytes(range(32))).decode()
RULES = ("turnlog", "videosdk-1.0", "videosdk-1.0.30")
CALLS = [events_of(place, recorded) for place, recorded in read_recordings(FIXTURES / "recordings.jsonl.gz")][:6]
NAMES = ("a", "b")


def call(name: str, number: int) -> list[Event]:
    return [Event(name, f"o{number}", *(getattr(e, f) for f in e.__struct_fields__[2:])) for e in CALLS[number]]


def read_rows(store: Store, rules: str = "turnlog") -> dict[str, SessionRow]:
    chosen = plan(store, store.sessions(), rules)
    return {session.session_id: row for session, row in model_rows(store, chosen, ("numbers", "labels", "speech"))}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Histories(RuleBasedStateMachine):
    """Appends (late ones too), reads, engines, rule sets, forgetting, removal and re-import, in any order."""

    opened: Callable[[], Store]
    engine = "1"

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).opened()
        self.engine = "1"
        self.removed: dict[str, list[Event]] = {}
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(refresh, "engine", lambda: self.engine)
        self.patch.setattr(replaying, "session_row", self.made)

    def made(self, events: Iterable[Event], rules: str) -> SessionRow:
        """The row as this engine makes it; each engine counts differently."""
        row = session_row(events, rules)
        return row._replace(voices=row.voices + int(self.engine))

    def teardown(self) -> None:
        self.patch.undo()
        self.store.close()

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 5), part=st.data())
    def append(self, name: str, number: int, part: st.DataObject) -> None:
        events = call(name, number)
        chosen = part.draw(st.sets(st.integers(0, len(events) - 1), min_size=1, max_size=12))
        self.store.append([events[index] for index in sorted(chosen)])

    @rule(engine=st.sampled_from("12"))
    def upgrade(self, engine: str) -> None:
        self.engine = engine

    @rule(rules=st.sampled_from(RULES))
    def read(self, rules: str) -> None:
        read_rows(self.store, rules)

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name: str) -> None:
        forget(self.store, name, wait_seconds=0)
        if self.store.decrypts and self.store.ledger.key(name) is not None:
            assert not [key for key in self.store.rows.stored_keys() if key.session_id == name], "forget leaves no row"

    @precondition(lambda self: self.store.heads())
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.store.sessions())))
        stored = [linked.event for _o, chain in self.store.chains(session.session_id) for linked in chain]
        list(retire(self.store, [session], None))
        self.removed[session.session_id] = stored
        assert not [key for key in self.store.rows.stored_keys() if key.session_id == session.session_id]

    @precondition(lambda self: self.removed)
    @rule()
    def bring_back(self) -> None:
        _name, events = self.removed.popitem()
        self.store.append(events)

    @invariant()
    def rows_are_replays(self) -> None:
        for rules in RULES[:2]:
            expected = {name: self.made(self.store.read(name), rules) for name in self.store.heads()}
            # a copy: reading stores rows, and whether they are stored is up to the rule `read`
            assert read_without_storing(self.store, rules) == expected


def read_without_storing(store: Store, rules: str) -> dict[str, SessionRow]:
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(refresh._Storing, "add", lambda *_: None)
        return read_rows(store, rules)


def check_histories(opened: Callable[[], Store], examples: int) -> None:
    machine = type("Machine", (Histories,), {"opened": staticmethod(opened)})
    checked = settings(
        max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=checked)


@pytest.mark.slow
@pytest.mark.parametrize("master", [None, MASTER], ids=["clear", "encrypted"])
def test_law_read_model_is_replay(master: str | None, cache: Path, tmp_path: Path) -> None:
    """Break: in read_models/refresh.py, ``key_of``, leave the engine or the seal out; in ledger.py, keep rows."""
    check_histories(lambda: open_store(Path(tempfile.mkdtemp(dir=tmp_path)) / "calls.db", master_key=master), 25)


@pytest.mark.slow
def test_law_read_model_is_replay_in_memory(cache: Path) -> None:
    check_histories(lambda: open_store("memory:"), 10)


@pytest.mark.slow
def test_law_read_model_is_replay_on_postgres(postgres_url: str, cache: Path) -> None:
    """One database for all examples, as a new one takes a second; their sessions have the same names."""
    open_store(postgres_url, migrate=True).close()

    def opened() -> Store:
        store = open_store(postgres_url, master_key=MASTER)
        with psycopg.connect(postgres_url.replace("+psycopg", "")) as admin:
            admin.execute("SET session_replication_role = replica")  # no triggers
            for table in ("events", "origins", "keys", "removals", "session_rows"):
                admin.execute(f"DELETE FROM {table}")
        return store

    check_histories(opened, 8)


@pytest.fixture
def log(tmp_path: Path, cache: Path) -> Store:
    store = open_store(tmp_path / "calls.db")
    for number in range(4):
        store.append(call(f"s{number}", number))
    return store


def test_a_second_read_replays_nothing(log: Store) -> None:
    first = read_rows(log)
    assert plan(log, log.sessions()).stale == []
    assert read_rows(log) == first
    log.append(call("s1", 5))
    assert [session.session_id for session in plan(log, log.sessions()).stale] == ["s1"]
    log.close()


def test_a_row_unpacks_to_the_measures_it_was_made_of(log: Store) -> None:
    from projections.measures import measures

    for name, row in read_rows(log).items():
        assert measures_in(row, name) == measures(log.read(name))
        assert len(speech_of(row)) == row.turns
    log.close()


def with_number(field: str, number: float) -> str:
    """The numbers of a row with this one in the first turn, as SQL."""
    at = 8 * FIELDS.index(field)
    data = struct.pack("<d", number).hex()
    return f"cast(substr(numbers, 1, {at}) || x'{data}' || substr(numbers, {at + 9}) as blob)"


def forge(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as driver, driver:
        assert driver.execute(f"UPDATE session_rows SET {change} WHERE session_id = 's2'").rowcount == 1


DAMAGES = [
    "numbers = x'00'",
    "numbers = substr(numbers, 9)",
    "numbers = 'text'",
    "turns = turns + 1",
    "turns = -1",
    "turns = 'many'",
    "turns = 1e300",
    "events = x'00'",
    "voices = 'x'",
    "slowest_ms = 'fast'",
    "response_p95_ms = x'00'",
    "errors = 0.5",
    "labels = x''",
    "labels = x'90'",
    "labels = x'c1ff'",
    "labels = x'9101'",
    "labels = x'91c401ff'",
    "labels = 'no bytes'",
    "labels = 7",
    "speech = x'90'",
    "speech = x'92c4'",
    "speech = '[]'",
    "speech = substr(speech, 1, length(speech) - 1)",
]


@pytest.mark.parametrize("change", DAMAGES)
def test_a_row_that_cannot_be_decoded_is_stale(log: Store, tmp_path: Path, change: str) -> None:
    """Break: in refresh.py, ``_decodable``, keep each row; in row.py, ``is_decodable``, leave one condition out."""
    expected = read_rows(log)
    forge(tmp_path / "calls.db", change)
    assert read_rows(log) == expected
    assert list(differences(log, fresh_rows(log))) == [], "the row was made again, and stored"
    log.close()


@pytest.mark.parametrize("change", ["seal = x'00'", "engine = 7", "rules = x'ff'", "opened = 2"])
def test_a_row_whose_key_is_damaged_is_not_seen(log: Store, tmp_path: Path, change: str) -> None:
    """Break: in rows.py, ``stored_keys``, keep each key."""
    expected = read_rows(log)
    forge(tmp_path / "calls.db", change)
    assert len(log.rows.stored_keys()) >= 3
    assert read_rows(log) == expected
    log.close()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, -7.0])
def test_forged_numbers_end_no_command_in_a_traceback(program: Program, value: float) -> None:
    """Break: in table.py, ``columns_of``, leave the condition on an index out."""
    program.run("import", FIXTURES / "demo.jsonl.gz")
    program.run("project")
    with closing(sqlite3.connect(program.db)) as driver, driver:
        ((size,),) = driver.execute("SELECT length(numbers) FROM session_rows").fetchall()
        driver.execute("UPDATE session_rows SET numbers = ?", (struct.pack("<d", value) * (size // 8),))
    for command in (["stats"], ["stats", "--by", "provider"], ["stats", "--by", "day"], ["sessions"]):
        assert "Warning" not in program.run(*command).stderr
    found = program.run("export", "csv", "--all", "--out", "turns.csv", code=None)
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("slowest_ms = 1", "slowest_ms is 1.0"),
        ("voices = voices + 7", "voices is"),
        ("numbers = zeroblob(length(numbers))", "turn 1: "),
        ("speech = cast(replace(speech, 'a', 'b') as blob)", "what was said"),
        (f"numbers = {with_number('turn', math.inf)}", "turn 1: turn is None"),
        (f"numbers = {with_number('turn', math.nan)}", "turn 1: turn is None"),
        (f"numbers = {with_number('stt', 99)}", "turn 1: stt is None"),
        ("labels = x'91c40178'", "labels"),
        *((change, "cannot be decoded") for change in DAMAGES),
    ],
)
def test_a_forged_row_is_named(log: Store, tmp_path: Path, change: str, named: str) -> None:
    """Break: in audit.py, ``_differences``, return at once."""
    read_rows(log)
    assert list(differences(log, fresh_rows(log))) == []
    forge(tmp_path / "calls.db", change)
    found = list(differences(log, fresh_rows(log)))
    assert found
    assert {difference.session_id for difference in found} == {"s2"}
    assert any(named in difference.message for difference in found)
    log.close()


def test_verify_fails_over_a_forged_row(program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    program.run("project")
    assert "as replayed" in program.run("verify", "--read-models").stdout
    with sqlite3.connect(program.db) as driver:
        driver.execute("UPDATE session_rows SET errors = errors + 1")
    driver.close()
    assert "row: the row of session" in program.run("verify", "--read-models", code=1).stdout
    program.run("verify")


def test_rows_under_a_master_key_have_no_text_in_the_clear(tmp_path: Path, cache: Path) -> None:
    """Break: in encrypted.py, ``SealedRows.put``, pass the rows on."""
    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    store.append(call("s", 0))
    (row,) = read_rows(store).values()
    said = [words for each in speech_of(row) for words in each if words]
    assert said
    assert labels_of(row)[1]
    store.close()
    with sqlite3.connect(tmp_path / "calls.db") as driver:
        ((labels, speech),) = driver.execute("SELECT labels, speech FROM session_rows").fetchall()
    driver.close()
    for text in [*said, *filter(None, labels_of(row)[1])]:
        assert text.encode() not in labels + speech
    store = open_store(tmp_path / "calls.db")  # no master key in this process: a reading without content
    (without,) = read_rows(store).values()
    assert without == session_row(store.read("s"))
    assert without.speech != row.speech
    assert len(store.rows.stored_keys()) == 2
    store.close()


def test_a_row_moved_to_a_different_session_is_not_shown(tmp_path: Path, cache: Path) -> None:
    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    store.append(call("s", 0))
    store.append(call("t", 1))
    before = read_rows(store)
    with sqlite3.connect(tmp_path / "calls.db") as driver:
        other = "(SELECT speech FROM session_rows WHERE session_id = 't')"
        driver.execute(f"UPDATE session_rows SET speech = {other} WHERE session_id = 's'")
    driver.close()
    assert read_rows(store) == before
    store.close()


def test_a_read_only_log_has_its_rows_in_the_users_cache(log: Store, tmp_path: Path, cache: Path) -> None:
    """Break: in cache.py, ``drop_removed``, return at once."""
    log.close()
    read_only = open_store(f"sqlite:///file:{tmp_path}/calls.db?mode=ro&uri=true")
    rows = read_rows(read_only)
    path = cache_path(read_only)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.is_relative_to(cache)
    assert plan(read_only, read_only.sessions()).stale == []
    assert read_rows(read_only) == rows
    read_only.close()
    log = open_store(tmp_path / "calls.db")
    list(retire(log, [session for session in log.sessions() if session.session_id == "s0"], None))
    cached = cached_rows(log)
    assert cached is not None
    assert {key.session_id for key in cached.stored_keys()} == {"s1", "s2", "s3"}

    log.close()


def test_rows_of_removed_sessions_leave_the_cache(log: Store, tmp_path: Path) -> None:
    where = f"sqlite:///file:{tmp_path}/calls.db?mode=ro&uri=true"
    log.close()
    read_only = open_store(where)
    read_rows(read_only)
    read_only.close()
    with sqlite3.connect(tmp_path / "calls.db") as driver:
        driver.execute("INSERT INTO unlocked VALUES ('s0')")
        theirs = "(SELECT id FROM origins WHERE session_id = 's0')"
        driver.execute(f"DELETE FROM events WHERE origin_id IN {theirs}")
        driver.execute("DELETE FROM origins WHERE session_id = 's0'")
        driver.execute("DELETE FROM unlocked")
    driver.close()
    read_only = open_store(where)
    plan(read_only, read_only.sessions())
    cached = cached_rows(read_only)
    assert cached is not None
    assert {key.session_id for key in cached.stored_keys()} == {"s1", "s2", "s3"}
    read_only.close()


def test_a_locked_database_still_gives_the_answer(
    log: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventstore.errors import StoreUnavailable

    def locked(*_: object) -> None:
        raise StoreUnavailable("locked by a recorder")

    monkeypatch.setattr(type(log.rows), "put", locked)
    assert len(read_rows(log)) == 4
    assert "replays are not kept for the next time: locked by a recorder" in capsys.readouterr().err
    log.close()


def test_a_session_that_grows_while_it_is_replayed_is_stale(log: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in refresh.py, store each row. The seal in the database protects too: break ``_is_current`` as well."""
    chosen = plan(log, log.sessions())
    log.append(call("s0", 5))
    rows = {session.session_id: row for session, row in model_rows(log, chosen)}
    assert rows["s0"] == session_row(log.read("s0"))
    assert [session.session_id for session in plan(log, log.sessions()).stale] == ["s0"]
    log.close()


def test_two_refreshes_at_once(log: Store, tmp_path: Path) -> None:
    expected = {name: session_row(log.read(name)) for name in log.heads()}
    found: list[dict[str, SessionRow]] = []
    stores = [open_store(tmp_path / "calls.db") for _ in range(3)]
    threads = [threading.Thread(target=lambda s=store: found.append(read_rows(s))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3
    assert plan(log, log.sessions()).stale == []
    for store in (*stores, log):
        store.close()


def test_parallel_replays_are_the_serial_ones(log: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnlog.read_models.replaying.PARALLEL_FROM", 1)
    monkeypatch.setattr("turnlog.read_models.replaying.TASK_EVENTS", 1)
    log.append([Event("bad", "o", 0, "on_llm_start", 99, 1, 1, "{}")])
    from turnlog.survey import Survey

    survey, chosen = Survey(quiet=True), plan(log, log.sessions())
    rows = {session.session_id: row for session, row in model_rows(log, chosen, jobs=2, survey=survey)}
    assert rows == {name: session_row(log.read(name)) for name in ("s0", "s1", "s2", "s3")}
    assert survey.failed == {"bad"}
    log.close()


def test_sessions_of_the_plan_are_in_order(log: Store) -> None:
    def order(sessions: list[Session]) -> list[str]:
        return [session.session_id for session, _row in model_rows(log, plan(log, sessions))]

    newest = log.sessions()
    assert order(newest[:2]) == [session.session_id for session in newest[:2]]
    assert order(newest) == [session.session_id for session in newest], "fresh and stale rows are mixed in order"
    assert order(newest[::-1]) == [session.session_id for session in newest[::-1]]
    log.close()


def test_forget_and_retention_delete_rows(program: Program) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz", TURNLOG_MASTER_KEY=MASTER)
    program.run("project", TURNLOG_MASTER_KEY=MASTER)
    program.run("project")
    store = open_store(program.db)
    (name,) = {key.session_id for key in store.rows.stored_keys()}
    assert len(store.rows.stored_keys()) == 2
    program.run("forget", name, "--yes")
    assert store.rows.stored_keys() == []
    program.run("project")
    assert len(store.rows.stored_keys()) == 1
    program.run("retention", "--session", name, "--no-archive", "--yes")
    assert store.rows.stored_keys() == []
    store.close()
