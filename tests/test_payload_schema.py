"""The published schema is what payloads really are: nothing in them is missing from it, nothing in it is invented."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from conftest import FIXTURES, Program
from exporters.payload_schema import AnalyticsPayload
from projections.model import Realtime
from projections.payload import _PROVIDER, _camel
from projections.replay import replay
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
