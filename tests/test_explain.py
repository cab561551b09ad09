"""A number names all events on which it hangs: change any other, and it stays."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import FIXTURES, Program
from eventstore import HOOKS, Event
from projections import begin, fold
from projections.asked import UnknownPath, resolve
from projections.attribution import attributed
from projections.explain import Explanation, Reason, explain, explain_in, in_words
from projections.footprints import closing, footprint, opening
from projections.measures import TurnMeasures, measures
from projections.provenance import Trail, plain
from projections.reference.handlers.turn import NO_LATENCY
from projections.reference.metrics import Turn
from projections.reference.rules import find
from strategies import HOT, NAMES, streams
from turnlog.recordings import events_of, read_recordings

RULES = ["videosdk-1.0", "videosdk-1.0.30", "corrected"]
RECORDED = {found.name: events_of(place, found) for place, found in read_recordings(FIXTURES / "recordings.jsonl.gz")}
RECORDS = ("_metrics", "_events")
RECORDED_PAYLOADS: dict[str, list[str]] = defaultdict(list)
for recorded in RECORDED.values():
    for each in recorded:
        RECORDED_PAYLOADS[each.hook].append(each.payload)
VALUES: dict[str, list[Any]] = {
    "attached": [True, False], "local_vad": [True, False], "owns": [True, False], "enabled": [True, False],
    "at": [None, 1000.5, 1001.0], "usage": [{}, {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}],
    "count": [0, 5, -1], "duration": [0.5, 2.0], "actual_duration": [0.25, 1.0], "transcript": ["yes", "no", ""],
    "component_type": ["stt", "llm", "realtime"], "realtime_mode": [None, "full_s2s"], "active_components": [None],
    "participant_id": ["p"], "config": [None], "error": [{"message": "no"}], "event_data": [{}],
    "start_time": [None, 1000.25], "end_time": [None, 1000.75], "vad_config": [{}, {"min_silence_duration": 0.2}],
    "attributes": [{}], "index": [0], "pause_duration": [None, 1.5], "word_count": [None, 2],
}  # fmt: skip
SUMS = [".response_ms", ".eou_wait_ms", ".LLM_to_first_token"]


def numbers(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The paths and values of all numbers, and of what might have been one; not in what an agent handed over."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from numbers(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list) and path.endswith(RECORDS):
        for n, item in enumerate(value):
            yield from numbers(item, f"{path}[{n}]")
    elif value is None or type(value) in (int, float, bool):
        yield path, value


def arguments(rnd: Random, hook: str) -> str:
    """A payload for the hook, as in a real call or made up."""
    if hook in RECORDED_PAYLOADS and rnd.random() < 0.5:
        return rnd.choice(RECORDED_PAYLOADS[hook])
    made_up = {name: rnd.choice(VALUES.get(name, [None, 1, "x"])) for name in HOOKS[hook].arguments}
    return orjson.dumps(made_up).decode()


def with_hook(rnd: Random, event: Event, hook: str) -> Event:
    version, payload = HOOKS[hook].version, arguments(rnd, hook)
    return msgspec.structs.replace(event, hook=hook, version=version, payload=payload)


def made_up(rnd: Random) -> list[Event]:
    """Hooks in any order, at any time, from one process or two."""
    seqs: Counter[str] = Counter()
    perf, found = 10**12, []
    origins = rnd.choice(["o", "o", "ooop"])
    for _ in range(rnd.randint(5, 80)):
        perf += rnd.choice([0, 1000, 10**6, 10**8, 2 * 10**9])
        origin = rnd.choice(origins)
        event = Event("s", origin, seqs[origin], "", 1, perf, perf + 10**18 + (origin == "p") * 10**9, "{}")
        found.append(with_hook(rnd, event, rnd.choice(HOT) if rnd.random() < 0.8 else rnd.choice(NAMES)))
        seqs[origin] += 1
    return found


def real(rnd: Random) -> list[Event]:
    """A stretch of a real call, some of its events gone, changed, swapped or another's."""
    events = RECORDED[rnd.choice(sorted(RECORDED))]
    start = rnd.randint(0, max(0, len(events) - 40)) if rnd.random() < 0.7 else 0
    window = events[start : start + rnd.randint(20, 160)]
    for _ in range(rnd.choice([0, 1, 3, 8, 20])):
        n = rnd.randrange(1, len(window))
        what = rnd.choice(["drop", "hook", "swap", "more"])
        if what == "drop" and len(window) > 5:
            del window[n]
        elif what == "hook":
            window[n] = with_hook(rnd, window[n], rnd.choice(HOT))
        elif what == "more":
            window.insert(n, with_hook(rnd, window[n], rnd.choice(HOT)))
        else:
            one, two = window[n - 1], window[n]
            window[n - 1 : n + 1] = [
                msgspec.structs.replace(two, perf_ns=one.perf_ns, wall_ns=one.wall_ns),
                msgspec.structs.replace(one, perf_ns=two.perf_ns, wall_ns=two.wall_ns),
            ]
    return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(window)]


def other(rnd: Random, event: Event) -> Event | None:
    """The event as it might have been instead; None if it had not been."""
    what = rnd.choice(["gone", "time", "arguments", "framework"])
    if what == "gone":
        return None
    if what == "framework":
        return with_hook(rnd, event, "framework_event")
    if what == "arguments" and HOOKS[event.hook].arguments:
        return with_hook(rnd, event, event.hook)
    by = rnd.choice([-(10**10), -(10**8), -1000, 1, 10**6, 10**9, 10**11])
    return msgspec.structs.replace(event, perf_ns=max(1, event.perf_ns + by), wall_ns=event.wall_ns + by)


def check(rnd: Random, events: list[Event], rules: str, questions: int = 8) -> None:
    """Ask for some of the numbers of a call, and each time change what is not named."""
    trail = Trail(events, rules)
    turns = turns_of(trail)
    if not turns or trail.state.raised:
        return
    for _ in range(questions):
        where = rnd.choice(sorted(turns))
        paths = [path for path, value in numbers(turns[where], "") if value is not None or rnd.random() < 0.1]
        told = explain_in(trail, where + rnd.choice([*paths, ".e2e_latency", *SUMS]))
        named = {event.at for event in told.events}
        free = [at for at in range(len(events)) if at not in named]
        share = rnd.choice([1.0, 1.0, 0.5, 0.1])
        chosen = {at for at in free if rnd.random() < share}
        changed = [other(rnd, event) if at in chosen else event for at, event in enumerate(events)]
        stays(trail, told, where, changed, chosen)


def stays(trail: Trail, told: Explanation, where: str, changed: list[Event | None], chosen: set[int]) -> None:
    after = Trail([event for event in changed if event is not None], trail.rules)
    if after.state.raised:
        return
    opened = opener(trail, turns_of(trail)[where])
    again = {opener(after, turn): found for found, turn in turns_of(after).items()}
    named = {event.at for event in told.events}
    lines = [f"{trail.rules.name}: {told.path} = {told.value}, of the turn that {opened} opened"]
    for at, (event, instead) in enumerate(zip(trail.events, changed, strict=True)):
        mark = "*" if at in named else "!" if at in chosen else " "
        became = f" -> {instead and (instead.hook, instead.payload[:80], instead.perf_ns)}" if at in chosen else ""
        lines.append(f"{at} {mark} {event.origin}{event.seq} {event.perf_ns} {event.hook} {event.payload[:80]}{became}")
    account = "\n".join(lines)
    assert opened in again, f"the turn is gone\n{account}"
    try:
        asked = resolve(after, again[opened] + told.path.removeprefix(where))
    except UnknownPath as error:
        raise AssertionError(f"{error}\n{account}") from error
    found = after.ask(asked.question, asked.turn)[0]
    assert repr(found) == repr(told.value), f"now {found}\n{account}"


def turns_of(trail: Trail) -> dict[str, Turn]:
    found = {f"turns[{n}]": turn for n, turn in enumerate(trail.state.turns)}
    found |= {f"discarded[{n}].turn": discarded.turn for n, discarded in enumerate(trail.state.discarded)}
    return found | ({} if trail.state.turn is None else {"current_turn": trail.state.turn})


def opener(trail: Trail, turn: Turn) -> tuple[str, int]:
    """The event that opened it."""
    number = trail.number_of(turn)
    at = next(part.at for parts in trail.parts for part in parts if part.opens == number)
    return trail.events[at].origin, trail.events[at].seq


@pytest.mark.parametrize("make", [real, made_up])
@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=settings().max_examples // 3)
@given(seed=st.integers(0, 2**64))
def test_what_is_not_named_changes_nothing(rules: str, make: Callable[[Random], list[Event]], seed: int) -> None:
    """Break: in projections/slicing.py, ``_hang``, name no event that could have written."""
    rnd = Random(seed)
    check(rnd, make(rnd), rules)


LOCAL = {"local_vad": True}


@pytest.mark.parametrize(
    ("path", "named", "calls"),
    [
        pytest.param(
            "turns[0].user_speech_duration", {0, 1, 2, 3},
            [("set_local_vad_user_speech", {"owns": True}), ("on_user_speech_start", LOCAL),
             ("on_user_speech_end", LOCAL), ("on_user_speech_end", {}), ("complete_turn", {})],
            id="it was not listened to",
        ),
        pytest.param(
            "turns[0].prompt_tokens", {1, 2},
            [("on_user_speech_start", {}), ("set_llm_usage", {"usage": {"prompt_tokens": 5}}),
             ("set_llm_usage", {"usage": {}}), ("complete_turn", {})],
            id="it said nothing",
        ),
        pytest.param(
            "turns[0].agent_speech_start_time", {0, 1, 2, 3},
            [("hold_turn", {}), ("on_agent_speech_start", {}), ("finalize_realtime_turn", {}), ("complete_turn", {})],
            id="it would have ended the turn",
        ),
        pytest.param(
            "turns[0].eou_start_time", {0, 1, 2, 3},
            [("set_local_vad_user_speech", {"owns": True}), ("on_user_speech_start", {}), ("on_eou_start", {}),
             ("complete_turn", {})],
            id="it would have opened the turn",
        ),
        pytest.param(
            "turns[1].eou_start_time", {5, 6, 7},
            [("on_eou_start", {}), ("on_eou_complete", {}), ("on_eou_start", {}), ("on_eou_complete", {}),
             ("on_agent_speech_end", {}), ("on_interrupted", {}), ("complete_turn", {}), ("on_eou_start", {}),
             ("on_eou_complete", {}), ("complete_turn", {})],
            id="it would have left something to the turn",
        ),
        pytest.param(
            "current_turn.user_speech_start_time", {0, 2, 3},
            [("on_tts_start", {}), ("complete_turn", {}), ("on_user_speech_start", {}), ("complete_turn", {}),
             ("on_eou_start", {})],
            id="the first turn is kept, whatever is in it",
        ),
        pytest.param(
            "turns[0].e2e_latency", {2, 3},
            [("start_turn", {}), ("on_llm_start", {}), ("on_agent_speech_start", {}), ("finalize_realtime_turn", {})],
            id="there is no number, but might be",
        ),
        pytest.param(
            "turns[0].e2e_latency", {0, 2, 3},
            [("configure_pipeline", {"pipeline_mode": "realtime", "realtime_mode": "hybrid_stt"}),
             ("on_user_speech_end", {}), ("on_agent_speech_start", {}), ("complete_turn", {})],
            id="what opened the turn might have gone on to write it",
        ),
    ],
)  # fmt: skip
def test_what_could_have_been_is_named(path: str, named: set[int], calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Break: in projections/slicing.py, leave any of ``_could``, ``_turn_could`` and ``_end_could`` out."""
    events = made([hook for hook, _args in calls], [args for _hook, args in calls])
    found = explain(events, path, "videosdk-1.0.30")
    assert named <= {event.at for event in found.events}


@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=settings().max_examples // 3)
@given(events=streams(max_size=60), seed=st.integers(0, 2**64))
def test_nor_in_any_other_call(rules: str, events: list[Event], seed: int) -> None:
    """Break: in projections/slicing.py, ``_hang``, do not ask what the last writer had read."""
    check(Random(seed), events, rules)


@pytest.mark.parametrize("rules", RULES)
@given(events=streams(max_size=60))
def test_taking_notes_changes_nothing(rules: str, events: list[Event]) -> None:
    """Break: in projections/noted.py, ``NotedList.insert`` or ``append``, store nothing."""
    noted, s = Trail(events, rules).state, fold(begin(find(rules), spans=False, signals=False), events)
    assert noted.raised == s.raised
    assert [plain(turn) for turn in noted.turns] == [plain(turn) for turn in s.turns]
    assert [plain(d.turn) for d in noted.discarded] == [plain(d.turn) for d in s.discarded]
    assert plain(noted.turn) == plain(s.turn)
    assert (noted.user_speaking, noted.holds, noted.pending_user_start) == (
        s.user_speaking,
        s.holds,
        s.pending_user_start,
    )


@pytest.mark.parametrize("rules", RULES)
@given(events=streams(max_size=60))
def test_what_a_hook_writes_its_code_can_write(rules: str, events: list[Event]) -> None:
    """Break: in projections/footprints.py, ``_fields_of``, count no ``append``."""
    trail = Trail(events, rules)
    for at, event in enumerate(events):
        foot = footprint(event.hook)
        able = foot.writes | (opening() if foot.opens else set()) | (closing() if foot.closes else set())
        assert {trail.name(write.place) for write in trail.written[at]} <= able | {"session_start_time"}


@given(events=streams(max_size=60))
def test_each_event_is_attributed(events: list[Event]) -> None:
    """Break: in projections/attribution.py, ``_of``, give no reason."""
    s = fold(begin(find("corrected"), spans=False, signals=False), events)
    rows = attributed(events, "corrected")
    assert [(row.origin, row.seq) for row in rows] == [(event.origin, event.seq) for event in events]
    for row in rows:
        assert bool(row.why) == (row.to == "nothing")
        assert row.to != "turn" or 1 <= (row.number or 0) <= len(s.turns)
        assert row.to != "discarded" or s.discarded[row.number or 0]


def test_whose_an_event_is() -> None:
    """Break: in projections/attribution.py, ``_why``, do not ask whether a turn was open."""
    calls = [
        "on_llm_complete", "on_user_speech_start", "on_user_speech_start", "on_llm_first_token", "on_eou_start",
        "on_eou_complete", "complete_turn", "on_user_speech_start", "complete_turn", "on_user_speech_start",
        "hold_turn",
    ]  # fmt: skip
    rows = attributed(made(calls))
    assert [(row.to, row.number) for row in rows] == [
        ("nothing", None), ("turn", 1), ("nothing", None), ("nothing", None), ("turn", 1), ("turn", 1), ("turn", 1),
        ("discarded", 0), ("discarded", 0), ("open", None), ("session", None),
    ]  # fmt: skip
    assert rows[0].why == "no turn was open"
    assert rows[3].why == "the LLM had not been started in the turn"


def made(hooks: list[str], args: list[dict[str, Any]] | None = None) -> list[Event]:
    payloads = [orjson.dumps(each).decode() for each in args or [{} for _hook in hooks]]
    return [
        Event("s", "o", seq, hook, HOOKS[hook].version, seq * 10**9 + 1, seq * 10**9 + 10**18, payloads[seq])
        for seq, hook in enumerate(hooks)
    ]


def seqs(reason: Reason) -> Any:
    return reason.at, [seqs(each) for each in reason.why]


def test_a_number_and_its_reasons() -> None:
    """Break: in projections/explain.py, ``_reason``, follow the reads of the first write."""
    events = RECORDED["normal_cascading"]
    found = explain(events, "turns[2].e2eLatency")
    assert (found.path, round(found.value), found.discarded) == ("turns[2].e2e_latency", 630, None)
    assert found.rule == "turn.complete_turn"
    stt, eou, llm, tts = found.why.why
    assert seqs(stt) == (79, [(78, [])])
    assert seqs(eou) == (81, [(80, [])])
    assert seqs(llm) == (87, [(84, [])])
    assert tts.path == "turns[2].tts_metrics[0].tts_latency"
    assert round(sum(each.value for each in found.why.why)) == 630
    assert {switch.name for switch in found.switches if not switch.on} >= {"stt_from_last_interim", "eou_wait_in_e2e"}
    roles = {event.seq: event.role for event in found.events}
    assert roles[79] == "made it"
    assert roles[71] == "could have", "the end of the turn before"
    assert len(roles) < 45, "neither all of the session nor all of the turn"


def test_other_names_for_the_same() -> None:
    """Break: in projections/asked.py, ``_from_front``, leave the indices as they are."""
    events = RECORDED["normal_cascading"]
    paths = {
        explain(events, f"turns[1].{name}").path for name in ("stt_ms", "sttLatency", "stt_metrics[-1].stt_latency")
    }
    assert paths == {"turns[1].stt_metrics[0].stt_latency"}
    assert round(explain(events, "turns[1].response_ms").value) == 1133
    assert explain(events, "turns[1].response_ms").why.why[0].path == "turns[1].user_speech_end_time"


@pytest.mark.parametrize("session", ["fallback_llm", "realtime_full_s2s_base", "barge_in_vad"])
def test_every_measure_can_be_explained(session: str) -> None:
    """Break: in projections/asked.py, ``_MEASURES``, take ``llm_duration`` for ``llm_ttft_ms``."""
    trail = Trail(RECORDED[session], "videosdk-1.0.30")
    names = [name for name in TurnMeasures.__struct_fields__ if name.endswith(("_ms", "_tokens", "_characters"))]
    names = [name for name in names if name not in ("yield_ms", "overlap_ms")]  # of `projections.barge_in`
    for n, turn in enumerate(measures(RECORDED[session], "videosdk-1.0.30")):
        for name in names:
            value = getattr(turn, name)
            if value is not None:
                assert explain_in(trail, f"turns[{n}].{name}").value == pytest.approx(value), name


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("turns[1].e2e_latenc", "did you mean e2e_latency"),
        ("turns[99].e2e_latency", "it has 5 turns, 0 discarded"),
        ("turns.e2e_latency", "a path is like"),
        ("current_turn", "it has 5 turns"),
        ("turns[1].yield_ms", "`turnlog barge-ins` has them"),
        ("turns[1].stt_metrics[7].stt_latency", "the turn has no"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, said: str) -> None:
    """Break: in projections/asked.py, ``_missing``, return False."""
    with pytest.raises(UnknownPath, match=re.escape(said)) as raised:
        explain(RECORDED["normal_cascading"], path)
    assert "\n" not in str(raised.value)


def test_why_a_turn_was_discarded() -> None:
    """Break: in projections/explain.py, ``explain_in``, leave ``discarded`` out."""
    found = explain(RECORDED["noise_discarded"], "discarded[0]")
    assert found.discarded == NO_LATENCY
    assert found.value == "nothing was measured in it"
    assert "on_user_speech_start" in {event.hook for event in found.events}


def test_a_turn_in_words() -> None:
    """Break: in projections/in_words.py, ``_wait``, leave the events out."""
    answered, by_rules = in_words(RECORDED["normal_cascading"], 3)
    assert answered.startswith("answered after 1,131 ms: EOU wait 500 (on_eou_complete #81 → ")
    assert "LLM to first token 250 (on_llm_start #84 → on_llm_first_token #87)" in answered
    assert by_rules == "E2E by the rules 630 ms: STT 181 + EOU 18 + LLM to first token 250 + TTS 181"
    assert in_words(RECORDED["normal_cascading"], 99) == []


def test_an_explanation_stays_small_in_a_long_call() -> None:
    """What is named of a turn is not all of the call before it.

    Break: in projections/slicing.py, ``_reads_for``, let the end of a turn hang on all that it read.
    """
    trail = Trail(RECORDED["soak_seed1"], "videosdk-1.0")
    sizes = sorted(len(explain_in(trail, f"turns[{n}].e2e_latency").events) for n in range(len(trail.state.turns)))
    assert sizes[len(sizes) // 2] < 50
    assert sizes[-1] < 250, "after barge-ins, those turns that left something to the next"


def test_the_command(program: Program) -> None:
    """Break: in turnlog/cli/explain.py, ``_where``, count turns from 0."""
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    shown = program.run("explain", "normal_cascading", "3").stdout
    assert "answered after 1,131 ms" in shown
    assert "stt_metrics[0].stt_latency 181.035  ← on_stt_complete #79 +2,421 ms" in shown
    assert "could have changed it" in shown
    (report,) = json.loads(program.run("explain", "normal_cascading", "3", "eou_ms", "--json").stdout)
    assert report["path"] == "turns[2].eou_metrics[0].eou_latency"
    assert report["why"]["why"][0]["path"] == "eou_start"
    rows = json.loads(program.run("explain", "normal_cascading", "--events", "--json").stdout)
    assert len(rows) == 187
    assert "no latency was measured" in program.run("explain", "noise_discarded", "discarded").stdout
    assert "did you mean e2e_latency" in program.fails("explain", "normal_cascading", "3", "e2elatency")
    assert "no turn 'x'" in program.fails("explain", "normal_cascading", "x")
    assert "say which turn" in program.fails("explain", "normal_cascading")
