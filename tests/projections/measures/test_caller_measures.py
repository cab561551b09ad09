"""Statistics and checks of the caller's reading, the default: responses, unanswered questions, and reasons."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import Event, Recorder, Store, open_store
from eventstore.stores.memory import MemoryStore
from projections.caller import read
from projections.measures import TurnMeasures, measures, measures_of, session_measures
from projections.measures.row import pack
from support.known_calls import StillClock, recording
from support.program import FIXTURES, Program
from support.strategies import streams
from turnlog.read_models import plan
from turnlog.recordings import events_of, read_recordings
from turnlog.sessions import started_between
from turnlog.stats.budget import Budget, NoRegression, parse_limit
from turnlog.stats.collect import collect
from turnlog.stats.figures import figure
from turnlog.stats.metrics import find_comparable, find_metric
from turnlog.stats.reasons import explain_worst
from turnlog.stats.report import report
from turnlog.stats.table import TurnTable, columns_of
from turnlog.stats.verdict import Verdict, judge

RULES = "turnlog"


@pytest.fixture
def memory() -> Iterator[MemoryStore]:
    yield MemoryStore()


def question(recorder: Recorder, clock: StillClock, words: str = "secret") -> None:
    """A second of speech, transcribed 100 ms later."""
    recorder.on_user_speech_start()
    clock.advance(1000)
    recorder.on_user_speech_end()
    recorder.on_stt_start()
    clock.advance(100)
    recorder.on_stt_complete(words)
    recorder.set_user_transcript(words)


def llm(recorder: Recorder, clock: StillClock, ttft: float, given: int = 50) -> None:
    recorder.on_llm_start()
    clock.advance(ttft)
    recorder.on_llm_first_token()
    recorder.on_llm_complete()
    recorder.set_llm_usage({"prompt_tokens": given, "completion_tokens": 8, "total_tokens": given + 8})


def spoken(recorder: Recorder, clock: StillClock, tts: float = 150) -> None:
    """An answer that is synthesised and spoken for a second."""
    recorder.on_tts_start()
    recorder.add_tts_characters(12)
    clock.advance(tts)
    recorder.on_tts_first_byte()
    recorder.on_agent_speech_start()
    clock.advance(1000)
    recorder.on_agent_speech_end()


def answered(recorder: Recorder, clock: StillClock, ttft: float = 300) -> None:
    question(recorder, clock)
    llm(recorder, clock, ttft)
    spoken(recorder, clock)
    clock.advance(2000)


def greeting(recorder: Recorder, clock: StillClock) -> None:
    recorder.traces.agent_say_called("Hello.")
    spoken(recorder, clock)
    clock.advance(2000)


def mixed(store: Store, session: str = "mixed") -> None:
    """A greeting, two answers, and a question that is hung up on."""
    with recording(store, session) as (recorder, clock):
        greeting(recorder, clock)
        answered(recorder, clock)
        answered(recorder, clock, 900)
        question(recorder, clock)
        recorder.on_llm_start()
        clock.advance(100)
        recorder.finalize_session()


def tabled(store: Store, by: str | None = None) -> TurnTable:
    return collect(store, plan(store, started_between(store.sessions(), None, None)), by)


def judged(table: TurnTable, *limits: str, metrics: tuple[str, ...] = ()) -> list[Verdict]:
    rule = NoRegression(tuple(map(find_comparable, metrics)))
    return judge(table, Budget(tuple(map(parse_limit, limits)), rule), None)


# a turn ---------------------------------------------------------------------------------------------------------


def test_a_turn_by_hand(memory: MemoryStore) -> None:
    with recording(memory, "s") as (recorder, clock):
        recorder.add_participant_metrics("a", "agent", meta={"version": "1.4"})
        recorder.set_provider_info("llm", "OpenAILLM", "gpt-4o")
        answered(recorder, clock)
    (found,) = measures(memory.read("s"))
    assert (found.session, found.turn, found.llm, found.version) == ("s", 1, "OpenAILLM/gpt-4o", "1.4")
    assert (found.response_ms, found.e2e_ms, found.time_to_answer_ms, found.framework_e2e_ms) == (550, 550, None, None)
    assert (found.stt_ms, found.llm_ttft_ms, found.tts_first_byte_ms, found.eou_wait_ms) == (100, 300, 150, 0)
    assert (found.user_speech_ms, found.agent_speech_ms) == (1000, 1000)
    assert (found.asked, found.unanswered, found.no_response) == (True, False, None)
    assert (found.prompt_tokens, found.total_tokens, found.tts_characters, found.tools) == (50, 58, 12, 0)


def test_a_tool_behind_a_filler(memory: MemoryStore) -> None:
    """Break: in projections/measures/reading.py, ``_tokens``, take the last run of each alone."""
    with recording(memory, "s") as (recorder, clock):
        recorder.set_provider_info("llm", "OpenAILLM", "gpt-4o")
        question(recorder, clock)
        llm(recorder, clock, 300)
        recorder.tool_started("c1", "lookup")
        spoken(recorder, clock)  # "One moment."
        clock.advance(500)
        recorder.tool_ended("c1", "done")
        recorder.on_llm_start()
        clock.advance(200)
        recorder.on_llm_first_token()
        spoken(recorder, clock)
        recorder.on_llm_complete()
        recorder.set_llm_usage({"prompt_tokens": 90, "completion_tokens": 8, "total_tokens": 98})
    (found,) = measures(memory.read("s"))
    assert (found.response_ms, found.time_to_answer_ms) == (550, 2400)
    assert (found.tools, found.tool_ms, found.llm_ttft_ms) == (1, 1650, 300)
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (140, 16, 156)
    assert (found.prompt_tokens, found.completion_tokens, found.tts_characters) == (140, 16, 24)


def test_tokens_of_all_kinds_of_runs_and_audio(memory: MemoryStore) -> None:
    with recording(memory, "s") as (recorder, clock):
        question(recorder, clock)
        recorder.add_audio_seconds("stt", 1.5)
        llm(recorder, clock, 300)
        recorder.on_tts_start()
        recorder.add_audio_seconds("tts", 0.75)
        recorder.add_audio_seconds("tts", 0.5)
        recorder.set_realtime_usage({"input_tokens": 7, "output_tokens": 3, "total_tokens": 10})
        spoken(recorder, clock)
    (found,) = measures(memory.read("s"))
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (57, 11, 68)
    assert (found.prompt_tokens, found.realtime_input_tokens, found.realtime_tokens) == (50, 7, 10)
    assert (found.stt_audio_seconds, found.tts_audio_seconds) == (1.5, 1.25)


def test_a_turn_has_the_provider_that_served_it(memory: MemoryStore) -> None:
    """Break: in projections/measures/reading.py, ``_providers``, take the session's."""
    with recording(memory, "s") as (recorder, clock):
        recorder.set_provider_info("llm", "Slow", "m")
        answered(recorder, clock)
        recorder.update_provider_class("LLM", "Quick", "n")
        answered(recorder, clock)
    assert [found.llm for found in measures(memory.read("s"))] == ["Slow/m", "Quick/n"]


def test_the_framework_s_own_figures_stand_beside(memory: MemoryStore) -> None:
    mixed(memory)
    found = measures_of(read(memory.read("mixed")), [None, 551.0, 1150.5, None])
    assert [(m.response_ms, m.framework_e2e_ms) for m in found] == [
        (None, None), (550, 551.0), (1150, 1150.5), (None, None),
    ]  # fmt: skip


def test_real_calls_are_measured_as_they_are_read() -> None:
    """The measures are computed independently of turns and payloads, and agree with them."""
    for place, recorded in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        events = events_of(place, recorded)
        r = read(events)
        found, voices = session_measures(events)
        assert voices == len(r.discarded)
        for m, turn, payload in zip(found, r.turns, r.payloads, strict=True):
            assert (m.turn, m.response_ms, m.no_response) == (turn.turn, turn.e2e_latency, turn.no_response)
            assert (m.interrupted, m.tools, m.errors) == (turn.interrupted, len(turn.tools), len(turn.errors))
            assert (m.opened_at, m.agent or None) == (turn.opened_at, turn.agent)
            assert (m.total_tokens or 0, m.input_tokens or 0) == (turn.tokens["total"], turn.tokens["input"])
            for name, key in PAYLOAD.items():
                assert getattr(m, name) == payload.get(key), (recorded.name, m.turn, name)


PAYLOAD = {
    "stt_ms": "sttLatency", "eou_ms": "eouLatency", "llm_ttft_ms": "ttft", "llm_ms": "llmDuration",
    "tts_ms": "ttsLatency", "user_speech_ms": "userSpeechDuration", "agent_speech_ms": "agentSpeechDuration",
    "prompt_tokens": "promptTokens", "tokens_per_second": "tokensPerSecond", "kb_ms": "kbRetrievalLatency",
}  # fmt: skip


@given(streams(max_size=60), st.sampled_from(["provider", "agent", "session"]))
def test_any_stream_can_be_measured(events: list[Event], by: str) -> None:
    found, voices = session_measures(events)
    table = TurnTable(columns_of([("s", pack(found, voices=voices))]), by)
    groups = report(table)
    assert orjson.dumps(groups)
    assert sum(group["turns"]["completed"] for group in groups) == len(found)
    assert all(m.unanswered == (m.no_response is not None) for m in found if m.asked)
    assert all(m.no_response in ("no question", "still open") for m in found if not m.asked)


@pytest.mark.parametrize("odd", ["many", True, None, [1], 10**400, -5, {"a": 1}])
def test_odd_numbers_count_as_none(memory: MemoryStore, odd: object) -> None:
    with recording(memory, "s") as (recorder, clock):
        question(recorder, clock)
        recorder.on_llm_start()
        recorder.set_llm_usage({"prompt_tokens": odd, "completion_tokens": 5})
    (found,) = measures(memory.read("s"))
    assert (found.prompt_tokens, found.completion_tokens, found.total_tokens) == (0, 5, 5)


# many of them ---------------------------------------------------------------------------------------------------


def test_the_rate_of_unanswered_turns_and_its_reasons(memory: MemoryStore) -> None:
    """One question in three; the greeting is no question. Break: in stats/metrics.py, empty ``SHARE_OF``."""
    mixed(memory)
    with recording(memory, "open") as (recorder, clock):
        question(recorder, clock)  # its time for an answer is not over
    table = tabled(memory)
    found = figure(table, find_metric("unanswered.rate"))
    assert (found.value, found.samples) == (pytest.approx(100 / 3), 3)
    assert figure(table, find_metric("unanswered.count")).value == 1
    assert figure(table, find_metric("turns.completed")).value == 5
    (group,) = report(table)
    assert group["no_response"] == {"hang-up": 1, "no question": 1, "still open": 1}
    assert [m.unanswered for m in measures(memory.read("mixed"))] == [False, False, False, True]


def test_groups_by_agent(memory: MemoryStore) -> None:
    store = MemoryStore()
    mixed(store)
    turns = [record(m, agent="billing" if m.turn == 2 else "front") for m in measures(store.read("mixed"))]
    table = TurnTable(columns_of([("mixed", pack(turns))]), "agent")
    assert {g["group"]: g["turns"]["completed"] for g in report(table)} == {"billing": 1, "front": 3}


def record(m: TurnMeasures, **changed: object) -> TurnMeasures:
    return TurnMeasures(**({name: getattr(m, name) for name in m.__struct_fields__} | changed))  # type: ignore[arg-type]


def test_budgets_hold_the_response(memory: MemoryStore) -> None:
    mixed(memory)
    table = tabled(memory)
    verdicts = judged(table, "response.max < 1 s", "e2e.max < 1 s", "unanswered.rate < 5 %", "turns.discarded == 0")
    assert [v.outcome for v in verdicts] == ["fail", "fail", "fail", "inconclusive"]
    assert verdicts[3].why == "the rules turnlog discard no turn"
    slow, _alias, unanswered, _none = explain_worst(verdicts, memory, RULES)
    assert (slow.worst[0].turn, slow.worst[0].value) == ("3", 1150)
    assert slow.worst[0].parts == {"response": 1150, "stt": 100, "eou_wait": 0, "llm_ttft": 900, "tts_first_byte": 150}
    (why,) = slow.worst[0].why
    assert why.startswith("responded in 1,150 ms: LLM to first token 900 ms, TTS to first byte 150 ms, ")
    assert [(w.turn, w.why) for w in unanswered.worst] == [("4", ["no response: hang-up"])]


def test_tools_and_failed_providers_are_named(memory: MemoryStore) -> None:
    """The reasons contain no content. Break: in stats/reasons.py, ``_read``, leave out the failures."""
    with recording(memory, "s") as (recorder, clock):
        question(recorder, clock)
        recorder.on_llm_start()
        clock.advance(400)
        switched = {"component_type": "LLM", "original_provider_label": "A", "new_provider_label": "B"}
        recorder.on_fallback_event(switched)
        recorder.add_error("LLM", "secret")
        clock.advance(200)
        recorder.on_llm_first_token()
        recorder.on_llm_complete()
        recorder.tool_started("c1", "lookup")
        clock.advance(300)
        recorder.tool_ended("c1", "failed")
        llm(recorder, clock, 100)
        spoken(recorder, clock)
    (verdict,) = explain_worst(judged(tabled(memory), "response.p50 < 1 s"), memory, RULES)
    wait, *others = verdict.worst[0].why
    assert "failed provider 400 ms" in wait
    assert "tools 300 ms" in wait
    assert others == ["LLM A failed after 400 ms; next: B", "errors of LLM: 1", "tools: lookup 300 ms (failed)"]


def test_nothing_regresses_by_turns_that_are_not_discarded(memory: MemoryStore) -> None:
    mixed(memory)
    (found,) = judged(tabled(memory), metrics=("discarded.rate",))
    assert (found.outcome, found.why) == ("inconclusive", "the rules turnlog discard no turn")


# the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(program: Program) -> Program:
    store = open_store(program.db)
    mixed(store)
    store.close()
    return program


def test_stats_lead_with_the_response(calls: Program) -> None:
    text = calls.run("stats", COLUMNS="160").stdout
    at = [text.index(part) for part in ("4 turns", "response", "unanswered: 33.3 %, 1 of 3 questions", "llm_ttft")]
    assert at == sorted(at)
    assert "hang-up 1; not counted: 1 turn without a question" in text
    found = orjson.loads(calls.run("stats", "--json").stdout)
    assert found["rules"] == RULES
    assert found["groups"][0]["measures"]["response"]["max"] == 1150
    assert "response p95" in calls.run("stats", "--by", "day", COLUMNS="160").stdout


@pytest.mark.parametrize("rules", [RULES, "videosdk-1.0"])
def test_a_check_over_no_turn_fails(program: Program, rules: str) -> None:
    """Break: in cli/check.py, ``check``, continue without turns."""
    store = open_store(program.db)
    with recording(store, "silent") as (recorder, _clock):
        recorder.set_provider_info("llm", "A", "b")
    mixed(store)
    store.close()
    (program.folder / "b.toml").write_text('budgets = ["response.p95 < 1 s", "error.rate == 0 %"]')
    for where, sessions in ((("silent",), "1 session"), (("--since", "2030-01-01"), "0 sessions")):
        done = program.run("check", "b.toml", *where, "--rules", rules, "--junit", "j.xml",
                           "--save-baseline", "base.json", code=1)  # fmt: skip
        said = (
            "base.json: not written, as a limit fails\n"
            f"turnlog: nothing to check: no turn in {sessions}; see `turnlog sessions`\n"
        )
        assert done.stderr == said
        suite = ElementTree.parse(program.folder / "j.xml").find("testsuite")
        assert suite is not None
        assert suite.get("failures") == "1"
        assert not (program.folder / "base.json").exists()


@pytest.mark.parametrize("command", ["stats", "check"])
def test_hostile_sessions_are_named_and_the_others_counted(calls: Program, command: str) -> None:
    store = open_store(calls.db)
    payloads = {
        "not-json": ("set_user_transcript", "not json"),
        "deep": ("set_user_transcript", "[" * 100_000 + "]" * 100_000),
        "future": ("on_llm_start", '{"$happened_ns":' + "9" * 5000 + "}"),
        "hook": ("zzz", "{}"),
    }
    for name, (hook, payload) in payloads.items():
        store.append([Event(name, "o", 0, hook, 1, 1, 1, payload)])
    store.close()
    (calls.folder / "b.toml").write_text('budgets = ["response.max < 2 s"]')
    done = calls.run(command, *(["b.toml"] if command == "check" else []), code=1, COLUMNS="160")
    *named, last = done.stderr.splitlines()
    assert {name for name in payloads if any(name in line for line in named)} == set(payloads)
    assert last == "turnlog: 4 of 5 sessions failed; see the lines above"
    assert ("1 of 3 questions" if command == "stats" else "pass") in done.stdout
