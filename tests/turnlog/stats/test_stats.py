"""Statistics: what is counted of a turn, the figures made of it, and `turnlog stats`."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, open_store
from eventstore.stores.memory import MemoryStore
from projections.measures import TurnMeasures, measures_of_call
from projections.measures import measures as measures_under
from projections.measures.row import pack
from projections.reference.replay import replay
from projections.reference.rules import UnknownRules
from support.known_calls import DAY_NS, MARCH_NS, call, recording, turn
from support.program import FIXTURES, Program
from support.strategies import streams
from support.tables import RULES, made, of, tabled
from turnlog.read_models import plan
from turnlog.recordings import events_of, read_recordings
from turnlog.sessions import BadDate, parse_date_ns, started_between
from turnlog.stats import table
from turnlog.stats.figures import CONFIDENCE, Figure, format_exact, format_value, interval, rate
from turnlog.stats.metrics import MEASURES, METRICS, RATES, STATISTICS, UnknownMetric, find_metric
from turnlog.stats.report import report
from turnlog.stats.table import GROUPS, MissingExtra, TurnTable, columns_of, need_libraries


def measures(events: Iterable[Event], rules: str = RULES) -> list[TurnMeasures]:
    """Of the framework's reading; `test_caller_measures` has the caller's."""
    return measures_under(events, rules)


@pytest.fixture
def memory() -> Iterator[MemoryStore]:
    yield MemoryStore()


# what is counted of a turn --------------------------------------------------------------------------------------


def test_measures_of_a_turn_by_hand(memory: MemoryStore) -> None:
    with recording(memory, "s") as (recorder, clock):
        recorder.add_participant_metrics("a", "agent", meta={"version": "1.4"})
        recorder.set_provider_info("llm", "OpenAILLM", "gpt-4o")
        turn(recorder, clock, eou=20, ttft=300, tts=150)
        recorder.on_llm_complete()
        recorder.set_llm_usage({"prompt_tokens": 50, "completion_tokens": 8, "total_tokens": 58})
        recorder.add_tts_characters(12)
        recorder.add_error("TTS", "late")
        recorder.on_false_interrupt_start(1.0)
        recorder.complete_turn()
    (found,) = measures(memory.read("s"))
    assert (found.session, found.turn, found.opened_at) == ("s", 1, MARCH_NS / 1e9)
    assert (found.eou_ms, found.llm_ttft_ms, found.tts_ms, found.tts_first_byte_ms) == (20, 300, 150, 150)
    assert (found.e2e_ms, found.stt_ms, found.agent_speech_ms) == (470, None, 1000)
    assert (found.response_ms, found.eou_wait_ms) == (None, None)
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (50, 8, 58)
    assert (found.tts_characters, found.errors, found.fallbacks, found.tools) == (12, 1, 0, 0)
    assert (found.interrupted, found.false_interruption, found.discarded) == (False, True, None)
    assert (found.llm, found.stt, found.version) == ("OpenAILLM/gpt-4o", "", "1.4")


def test_of_a_framework_s_reading_the_wait_is_its_own_and_there_is_no_response() -> None:
    """Break: in projections/measures/session.py, ``_record``, take the EOU wait for the E2E latency."""
    events = events_of(*next(iter(read_recordings(FIXTURES / "demo.jsonl.gz"))))
    found = measures(events)
    assert [m.eou_wait_ms for m in found] == [None, 500, 500, 500]
    assert all(m.response_ms is m.yield_ms is m.overlap_ms is None for m in found)


def test_a_turn_has_the_provider_that_served_it(memory: MemoryStore) -> None:
    """The session knows only the last one."""
    with recording(memory, "s") as (recorder, clock):
        recorder.set_provider_info("llm", "Slow", "m")
        turn(recorder, clock, ttft=900)
        recorder.complete_turn()
        recorder.update_provider_class("LLM", "Quick", "n")
        turn(recorder, clock, ttft=100)
        recorder.complete_turn()
    assert [found.llm for found in measures(memory.read("s"))] == ["Slow/m", "Quick/n"]


def test_discarded_turns_come_last_with_their_reason(memory: MemoryStore) -> None:
    with recording(memory, "s") as (recorder, clock):
        turn(recorder, clock, ttft=10)
        recorder.start_turn()  # completes the turn; the next one has nothing in it
        recorder.complete_turn()
        turn(recorder, clock, ttft=20)
        recorder.complete_turn()
    first, second, discarded = measures(memory.read("s"))
    assert (first.turn, second.turn, discarded.turn) == (1, 2, None)
    assert "no latency" in (discarded.discarded or "")
    events = list(memory.read("s"))
    assert events[discarded.at or 0].hook == "complete_turn"


@pytest.mark.parametrize("odd", ["many", True, None, [1], 10**400])
def test_what_is_no_number_is_not_counted(memory: MemoryStore, odd: object) -> None:
    with recording(memory, "s") as (recorder, clock):
        turn(recorder, clock, ttft=10)
        recorder.set_llm_usage({"prompt_tokens": odd, "completion_tokens": 5})
        recorder.complete_turn()
    (found,) = measures(memory.read("s"))
    assert (found.prompt_tokens, found.completion_tokens) == (None, 5)


@pytest.mark.slow
@given(streams(max_size=60))
def test_any_stream_can_be_measured(events: list[Event]) -> None:
    """A lean replay counts what a full one does, and any of it goes into a table."""
    found = measures(events)
    assert found == measures_of_call(replay(events))
    table = TurnTable(columns_of([("s", pack(found))]), "provider")
    assert orjson.dumps(report(table))
    assert sum(group["turns"]["completed"] for group in report(table)) == sum(m.turn is not None for m in found)


def test_real_calls_are_measured_as_they_are_replayed() -> None:
    for place, recorded in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        call = replay(events_of(place, recorded))
        found = measures_of_call(call)
        completed = [m for m in found if m.turn is not None]
        assert [m.e2e_ms for m in completed] == [t.e2e_latency for t in call.turns]
        assert [m.interrupted for m in completed] == [t.is_interrupted for t in call.turns]
        assert len(found) - len(completed) == len(call.discarded)


# figures --------------------------------------------------------------------------------------------------------


def test_percentiles_by_hand(memory: MemoryStore) -> None:
    """Of 10, 20 … 100 the 95th lies at 0.95 × 9 = 8.55 from the first: 95.5; the 99th at 8.91: 99.1."""
    call(memory, "s", [50, 100, 10, 90, 20, 80, 30, 70, 40, 60])
    table = tabled(memory)
    found = {name: of(table, f"llm_ttft.{name}").value for name in STATISTICS}
    assert found == pytest.approx(
        {"count": 10, "min": 10, "mean": 55, "p50": 55, "p90": 91, "p95": 95.5, "p99": 99.1, "max": 100}
    )
    assert of(table, "e2e.p95").value == of(table, "llm_ttft.p95").value
    assert of(table, "llm_ttft.p95").samples == 10
    assert of(table, "turns.completed").value == 10


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.sampled_from(["p50", "p90", "p95", "p99"]))
def test_percentiles_are_numpy_s_and_lie_in_their_interval(values: list[float], name: str) -> None:
    found = of(made(values), f"e2e.{name}")
    assert found.value == np.percentile(values, float(name[1:]))
    if found.low is not None and found.high is not None:
        assert min(values) <= found.low <= found.high <= max(values)


def test_the_interval_of_a_percentile_is_that_of_order_statistics() -> None:
    """Of 100 values in order, the 40th and the 61st hold the median with at least 95 % (binomial tables)."""
    found = of(made([float(n) for n in range(1, 101)]), "e2e.p50")
    assert (found.low, found.high) == (40, 61)
    few = of(made([1.0, 2.0, 3.0]), "e2e.p95")
    assert (few.low, few.high) == (None, None)


@pytest.mark.slow
def test_the_interval_covers_what_it_says() -> None:
    """Of 400 samples of 300 from a known distribution, about 95 % of the intervals hold its 95th percentile."""
    random = np.random.default_rng(7)
    truth = float(np.exp(0.4 * 1.6448536))
    held = 0
    for _ in range(400):
        found = of(made(random.lognormal(0, 0.4, 300).tolist()), "e2e.p95")
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 370 <= held <= 396


def test_rates_by_hand(memory: MemoryStore) -> None:
    with recording(memory, "s") as (recorder, clock):
        for number in range(8):
            turn(recorder, clock, ttft=10)
            recorder.on_agent_speech_start()
            if number in (1, 2):
                recorder.on_interrupted()
            if number == 5:
                recorder.on_false_interrupt_start()
            if number == 6:
                recorder.on_false_interrupt_start()
                recorder.on_false_interrupt_escalated(2)
            recorder.complete_turn()
            recorder.start_turn()
            recorder.complete_turn()
    table = tabled(memory)
    assert of(table, "interruption.rate").value == 25
    assert of(table, "interruption.count").value == 2
    assert of(table, "false_interruption.rate").value == 12.5
    assert of(table, "error.rate").value == 0
    assert (of(table, "turns.completed").value, of(table, "turns.discarded").value) == (8, 8)
    assert of(table, "discarded.rate") == pytest.approx((50, 16, 28, 72), abs=0.5)


def test_nothing_one_value_and_no_latency() -> None:
    empty = TurnTable(columns_of([]))
    assert of(empty, "e2e.p95") == Figure(None, 0)
    assert of(empty, "interruption.rate") == Figure(None, 0)
    assert of(empty, "sessions.count").value == of(empty, "turns.completed").value == 0
    assert report(empty)[0]["measures"] == {}
    one = made([7.0])
    assert {of(one, f"e2e.{name}").value for name in STATISTICS} == {7.0, 1}
    silent = made([None, None])
    assert of(silent, "e2e.p50").value is None
    assert of(silent, "e2e.count").value == 0
    assert of(silent, "turns.completed").value == 2


def test_every_metric_has_a_figure() -> None:
    table = made([1.0, 2.0])
    assert {name: type(of(table, name)) for name in METRICS} == dict.fromkeys(METRICS, Figure)
    with pytest.raises(UnknownMetric, match=r"unknown metric 'e2e.p9'; did you mean 'e2e.p9\d'\?"):
        find_metric("e2e.p9")


def test_figures_as_people_read_them() -> None:
    assert [format_value(value, "ms") for value in (None, 0.0422, 17.26, 1234.5)] == [
        "–",
        "0.0422 ms",
        "17.3 ms",
        "1,234 ms",
    ]
    assert format_exact(1200.004, "ms") == "1,200.004 ms"
    assert format_exact(12.0, "") == "12"


# by group -------------------------------------------------------------------------------------------------------


def test_groups(memory: MemoryStore) -> None:
    call(memory, "monday", [100, 200], MARCH_NS + DAY_NS)
    call(memory, "sunday", [300], MARCH_NS)
    with recording(memory, "named", MARCH_NS + DAY_NS - 5_000_000_000) as (recorder, clock):
        recorder.add_participant_metrics("a", "agent", meta={"version": "2.0"})
        recorder.set_provider_info("stt", "Deepgram", "nova-3")
        recorder.set_provider_info("llm", "OpenAI", "gpt/4o")
        turn(recorder, clock, ttft=400)
        recorder.complete_turn()

    def counted(by: str) -> dict[str, int]:
        return {group["group"]: group["turns"]["completed"] for group in report(tabled(memory, by))}

    assert counted("day") == {"2026-03-01": 2, "2026-03-02": 2}
    assert counted("session") == {"monday": 2, "named": 1, "sunday": 1}
    assert counted("version") == {"": 3, "2.0": 1}
    assert counted("provider") == {"": 3, "Deepgram + OpenAI": 1}
    assert counted("model") == {"": 3, "nova-3 + gpt/4o": 1}
    assert counted("llm") == {"": 3, "OpenAI/gpt/4o": 1}
    (day, _second) = report(tabled(memory, "day"))
    assert day["sessions"] == 2
    assert day["measures"]["e2e"]["p50"] == 350


@pytest.mark.slow
def test_groups_partition_the_turns() -> None:
    store = MemoryStore()
    for place, recorded in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        store.append(events_of(place, recorded))
    (whole,) = report(tabled(store))
    e2e = {s.session_id: [m.e2e_ms for m in measures(store.read(s.session_id))] for s in store.sessions()}
    for by in GROUPS:
        groups = report(tabled(store, by))
        for group in groups if by == "session" else ():
            values = [value for value in e2e[group["group"]] if value is not None]
            assert group["measures"].get("e2e", {"max": None})["max"] == max(values, default=None)
        for name in ("e2e", "llm_ttft", "total_tokens"):
            counts = [group["measures"].get(name, {"count": 0})["count"] for group in groups]
            assert sum(counts) == whole["measures"][name]["count"], by
        assert sum(group["turns"]["discarded"] for group in groups) == whole["turns"]["discarded"]


# the command ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("stats"))
    store = open_store(program.db)
    for day in range(3):
        call(store, f"call-{day}", [100 * (day + 1), 50], MARCH_NS + day * DAY_NS)
    with recording(store, "cut", MARCH_NS + DAY_NS) as (recorder, _clock):
        recorder.set_user_transcript("hello?")
    store.close()
    return program


def test_stats_as_data(week: Program) -> None:
    found = orjson.loads(week.run("stats", "--json", "--by", "day", "--since", "2026-03-02", "--rules", RULES).stdout)
    assert (found["rules"], found["by"]) == ("videosdk-1.0", "day")
    assert [group["group"] for group in found["groups"]] == ["2026-03-02", "2026-03-03"]
    assert [group["turns"] for group in found["groups"]] == [{"completed": 2, "discarded": 0}] * 2
    assert found["groups"][1]["measures"]["e2e"]["max"] == 300
    assert found["groups"][1]["measures"]["e2e"]["unit"] == "ms"


def test_since_and_until(week: Program) -> None:
    store = open_store(week.db)
    sessions = store.sessions()
    store.close()

    def chosen(since: str | None, until: str | None) -> list[str]:
        ends = [parse_date_ns(text) if text else None for text in (since, until)]
        return [session.session_id for session in started_between(sessions, *ends)]

    assert chosen("2026-03-02", None) == ["call-1", "cut", "call-2"]
    assert chosen(None, "2026-03-02T01:00+01:00") == ["call-0"]
    assert chosen("2026-03-02", "2026-03-02") == []


def test_stats_on_the_terminal(week: Program) -> None:
    text = week.run("stats", "--plot", "e2e", "call-1", "call-1", "cut", "--rules", RULES).stdout
    assert "2 sessions, 2 turns" in text
    assert "llm_ttft" in text
    assert "e2e (ms)" in text
    assert "█" in text
    assert "\x1b" not in text
    grouped = week.run("stats", "--by", "day", "--plot", "kb").stdout
    assert "2026-03-03" in grouped
    assert "nothing to draw: no turn has a kb" in grouped


def test_stats_names_what_is_wrong(week: Program) -> None:
    assert "unknown session 'call-l'; did you mean 'call-" in week.fails("stats", "call-l")
    assert "unknown metric 'e2f'; did you mean 'e2e'?" in week.fails("stats", "--plot", "e2f")
    with pytest.raises(UnknownRules):
        plan(MemoryStore(), [], "none")


def test_moments() -> None:
    assert parse_date_ns("2026-03-01") == MARCH_NS
    assert parse_date_ns("2026-03-01T00:00:00.000001") == MARCH_NS + 1000
    with pytest.raises(BadDate):
        parse_date_ns("1.3.2026")


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "find_spec", lambda name: None if name == "plotext" else name)
    with pytest.raises(MissingExtra, match=r"pip install 'turnlog\[stats\]' \(there is no plotext\)"):
        need_libraries()


@given(turns=st.integers(1, 20_000), share=st.sampled_from([0.5, 0.9, 0.95, 0.99]), part=st.floats(0, 1))
def test_intervals_are_those_of_scipy(turns: int, share: float, part: float) -> None:
    """To the last bit. Break: in figures.py, ``_binomial_quantile``, return ``near``."""
    from scipy import stats

    values = np.arange(float(turns))
    found = stats.quantile_test(values, p=share).confidence_interval(CONFIDENCE)
    few = share**turns > (1 - CONFIDENCE) / 2 or math.isnan(found.low) or math.isnan(found.high)
    assert interval(values, share) == ((None, None) if few else (float(found.low), float(found.high)))
    hits = round(part * turns)
    bounds = stats.binomtest(hits, turns).proportion_ci(CONFIDENCE, "wilson")
    assert rate(hits, turns)[2:] == (100 * float(bounds.low), 100 * float(bounds.high))


def test_statistics_import_neither_scipy_stats_nor_plotext(program: Program) -> None:
    """They take a second and half a second."""
    program.run("import", FIXTURES / "demo.jsonl.gz")
    code = "import sys, turnlog.cli as c\ntry: c.main()\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    environment = os.environ | {"TURNLOG_DB": str(program.db)}
    done = subprocess.run([sys.executable, "-c", code, "stats"], env=environment, capture_output=True, check=True)
    loaded = done.stderr.decode().split()
    assert "numpy" in loaded
    assert not {"scipy.stats", "plotext"} & set(loaded)


def test_every_measure_is_documented() -> None:
    text = (FIXTURES.parent / "docs" / "stats.md").read_text()
    assert [name for name in (*MEASURES, *RATES, *GROUPS) if f"`{name}`" not in text] == []
