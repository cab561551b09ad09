"""The published schema is what payloads really are: nothing in them is missing from it, nothing in it is invented."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from eventstore import HOOKS, Event
from exporters.analytics.schema import AnalyticsPayload
from projections.caller import read
from projections.reference.metrics import Realtime
from projections.reference.payload import _PROVIDER, _camel
from projections.reference.replay import replay
from support.examples import examples
from support.program import FIXTURES, Program
from support.strategies import streams
from turnlog.recordings import events_of, read_recordings

PAYLOADS = [
    payload
    for _place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz")
    for payload in replay(events_of("", recording)).payloads
]
LATEST = "videosdk-1.0.30"


def test_every_payload_of_the_recordings_fits() -> None:
    """Break: leave a field out of the model, or in the payload give one another type."""
    assert len(PAYLOADS) > 100
    for payload in PAYLOADS:
        AnalyticsPayload.model_validate(payload)


def test_payloads_of_later_rules_fit() -> None:
    """Break: leave ``eouWaitMs`` out of the model."""
    for _place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        for payload in replay(events_of("", recording), LATEST).payloads:
            AnalyticsPayload.model_validate(payload)


@pytest.mark.parametrize("mutated", [False, True])
def test_payloads_of_the_callers_reading_fit(mutated: bool) -> None:
    """Also of calls that lost every fifth event. Break: in outputs/payload.py, leave a kind of value as it is."""
    for place, recording in read_recordings(FIXTURES / "recordings.jsonl.gz"):
        events = events_of(place, recording)
        for gone in range(5) if mutated else [-1]:
            for payload in read(event for n, event in enumerate(events) if n % 5 != gone).payloads:
                AnalyticsPayload.model_validate(payload)


@settings(max_examples=examples(300))
@given(streams(max_size=60))
def test_payloads_of_whatever_an_agent_hands_over_fit(events: list[Event]) -> None:
    """Break: in outputs/payload.py, ``_text``, return what it is given."""
    for payload in read(events).payloads:
        AnalyticsPayload.model_validate(payload)
        orjson.dumps(payload)


def test_what_is_of_another_type_is_text_or_null() -> None:
    hooks: list[tuple[str, dict[str, object]]] = [
        ("set_system_instructions", {"instructions": ["be", "kind"]}),
        ("set_provider_info", {"component_type": "llm", "provider_class": 5, "model_name": {"a": 1}}),
        ("on_user_speech_start", {}),
        ("on_user_speech_end", {}),
        ("on_stt_start", {}),
        ("on_stt_complete", {"transcript": "Hi.", "confidence": "high", "duration": True}),
        ("on_knowledge_base_start", {"kb_id": 7}),
        ("on_knowledge_base_complete", {"documents": "all", "scores": [0.5, "x"]}),
        ("on_llm_start", {}),
        ("on_llm_first_token", {}),
    ]
    made = [
        Event(
            "s", "o", n, hook, HOOKS[hook].version, 10**9 + n * 10**8, 10**18 + n * 10**8, orjson.dumps(args).decode()
        )
        for n, (hook, args) in enumerate(hooks)
    ]
    (payload,) = read(made).payloads
    AnalyticsPayload.model_validate(payload)
    assert payload["systemInstructions"] == "['be', 'kind']"
    assert (payload["llmProviderClass"], payload["llmModelName"]) == ("5", "{'a': 1}")
    assert (payload["sttConfidence"], payload["sttDuration"]) == (None, None)
    assert (payload["kbId"], payload["kbDocuments"], payload["kbScores"]) == ("7", ["all"], [0.5])


def test_no_field_is_invented() -> None:
    made = {name for payload in PAYLOADS for name in payload}
    made |= {_camel(field) for field in Realtime.__struct_fields__ if field.endswith("_tokens")}
    made |= {name for names in _PROVIDER.values() for name in names}
    kb = {"kbId", "kbDocuments", "kbScores", "kbRetrievalLatency", "kbRetrievals"}
    made |= {"eouWaitMs", "eouProbability"}  # since videosdk-1.0.11
    assert AnalyticsPayload.model_fields.keys() <= made | kb | {"handOffOccurred"}


@pytest.mark.parametrize("change", [{"e2eLatency": "fast"}, {"newField": 1}, {"timeline": [{}]}, {"interrupted": None}])
def test_what_is_not_a_payload_does_not(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AnalyticsPayload.model_validate(PAYLOADS[0] | change)


def test_the_command_prints_json_schema(program: Program) -> None:
    schema = orjson.loads(program.run("schema").stdout)
    assert schema["title"] == "Analytics payload of a turn"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(PAYLOADS[0])
