"""Values whose name marks them as secret never reach journal or store, with or without a master key."""

from __future__ import annotations

import inspect
import types
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import HOOKS, Event, Recorder, open_store
from eventstore.hooks.arguments import HAPPENED, RAW, encode_args, scrub_args
from eventstore.hooks.secret_names import REDACTED, is_secret, scrub
from eventstore.stores.memory import MemoryStore
from projections.reference.replay import replay
from support.examples import examples
from support.program import FIXTURES
from support.strategies import HOSTILE
from turnlog.conformance import no_timers
from turnlog.recordings import events_of, read_recordings

SECRET = "hunter2-4111"
NAMES = [
    "api_key", "apiKey", "APIKEY", "api-key", "x-api-key", "xi-api-key", "OPENAI_API_KEY", "apiKeys", "access_key",
    "AWS_SECRET_ACCESS_KEY", "secretAccessKey", "token", "accessToken", "access_tokens", "auth-token",
    "X-Auth-Token", "sessionToken", "refresh_token", "id_token", "bearer", "livekit_token", "secret",
    "client_secret", "webhooksecret", "password", "passwd", "dbPassword", "PGPASSWORD", "pwd", "passphrase",
    "Authorization", "Proxy-Authorization", "authorization", "auth", "basic_auth", "jwt", "JWTToken", "credentials",
    "google_credential", "clientSecret", "private_key", "privateKey", "ssh_key", "Cookie", "set-cookie",
    "session_cookie", "Ocp-Apim-Subscription-Key",
]  # fmt: skip
NOT_SECRET = [
    "max_tokens", "token_count", "first_token_time", "tokens", "prompt_tokens", "maxTokens", "time_to_first_token",
    "tokens_per_second", "completion_tokens", "cached_tokens", "eos_token", "token_type", "cost_per_token", "key",
    "keyboard", "primary_key", "author", "authority", "secretary", "passenger", "bypass", "model", "monkey",
    "tokenizer", "auth_mode", "kb_id", "session_id", "cookiecutter", "", "🙂", "start_time", "passed", "compass",
]  # fmt: skip


def test_names() -> None:
    """Break: in eventstore/hooks/secret_names.py, leave out ``_METRIC``, or a word of it."""
    assert [name for name in NAMES if not is_secret(name)] == []
    assert [name for name in NOT_SECRET if is_secret(name)] == []
    assert not [name for hook in HOOKS.values() for name in hook.arguments if is_secret(name)]


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/mcp?a=1&token={}&b=2", "wss://x.example/?api%5Fkey={}", "https://x.example/#access_token={}",
        "postgresql://ada:{}@db/calls", "https://{}@github.example/x.git", "https://x.example/?X-Amz-Signature={}",
        "Client(api_key='{}', model='m')", 'Client(password="{}")', "{{'jwt': '{}'}}", '{{"client_secret": "{}"}}',
        "Authorization: Bearer {}", "authorization: Basic {}==", "cookie: a=1; sid={}", "retry with Bearer {}",
        "psql password={} host=db",
    ],
)  # fmt: skip
def test_text_that_software_wrote(text: str) -> None:
    """In a tool's URL, an error, a log line, instructions, and nested values."""
    said = text.format(SECRET)
    assert SECRET not in scrub(said)
    assert REDACTED in scrub(said)
    assert scrub(scrub(said)) == scrub(said)
    store = MemoryStore()
    with Recorder(store, "s") as recorder:
        recorder.add_mcp_tool_call("http", said, [said], {"a": {"b": [said]}})
        recorder.add_error("LLM", RuntimeError(said))  # type: ignore[arg-type]
        recorder.log_record("INFO", "agent", said, attributes={"url": said})
        recorder.framework_event(said, {"x": said})
        recorder.happened(10**18, {"headers": [said]}).add_error("LLM", said)
        recorder.on_background_audio_start(said)
        recorder.set_system_instructions(said)
    stored = [event.payload for event in store.read("s")]
    assert len(stored) == 7
    assert not [payload for payload in stored if SECRET in payload]


def test_what_is_no_secret_stays_as_it_was() -> None:
    for text in (
        "https://example.com/?max_tokens=5&q=a#top",
        "tokens=12, first_token=0.3",
        "token: four",
        "a = b",
        "key",
    ):
        assert scrub(text) == text
    for args in (
        {"usage": {"prompt_tokens": 7}},
        {"a": {"password": None, "token": "", "secret": True}},
        {"text": "{"},
    ):
        assert orjson.loads(encode_args(args)) == args
    recorded = [e.payload for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz") for e in events_of("", r)]
    assert recorded
    assert not [payload for payload in recorded if REDACTED in payload]


def test_harmless_text_is_remembered_as_it_was_and_a_secret_never() -> None:
    """Break: in eventstore/hooks/secret_names.py, ``scrub``, remember a text without its digits; or any text."""
    for text, clean in [
        ("password=", "password="), ("password=1", "password=[redacted]"), ("password=", "password="),
        ("coo\u212aie: a=b", "coo\u212aie: [redacted]"),
        ("gpt-4o", "gpt-4o"), ("gpt-4o", "gpt-4o"), ("password=1", "password=[redacted]"),
    ]:  # fmt: skip
        assert scrub(text) == clean
    assert orjson.loads(encode_args(scrub_args({"instructions": "a \ud800"})))["$altered"]


def test_what_was_no_secret_once_may_be_one_later() -> None:
    """Payloads are remembered by their shape. Break: in eventstore/hooks/secret_names.py, delete ``-``, too."""
    for before, after in (("to-ken", "token"), ("apikey5", "apikey"), ("to2ken", "to0ken"), ("tokens", "token")):
        for value in (7, 7.5, [7], {"a": 7}):
            encode_args({"usage": {before: value}})
            encode_args({"usage": {before: value, "n": 1}})
            assert REDACTED.encode() in encode_args({"usage": {after: value}})
    assert encode_args({"usage": {"n": 7}}) == b'{"usage":{"n":7}}'


def nested(name: str) -> list[Any]:
    """A secret with that name, in every form in which it is passed."""
    held = types.SimpleNamespace(**{name: SECRET})
    return [
        {name: SECRET}, {"deep": [{"er": {name: SECRET}}]}, {name: {"a": [SECRET]}},
        {name: 4111, "x": [[name, SECRET]]},
        [[name, SECRET]], [{"name": name, "value": SECRET}], {"headers": [(name, SECRET.encode())]},
        held, {"config": held},
        {"text": f'{{"{name}": "{SECRET}"}}'},
        {name.encode(): SECRET, "x": float("nan")}, {"n": float("inf"), name: SECRET},
    ]  # fmt: skip


@pytest.mark.parametrize("durability", ["process", "memory"])
@pytest.mark.parametrize("master_key", ["", "A" * 43 + "="])
def test_in_every_argument_of_every_hook(tmp_path: Path, master_key: str, durability: Any) -> None:
    """Break: in eventstore/hooks/arguments.py, return ``data`` without ``hide``; or in one way of encoding."""
    store = open_store(tmp_path / "calls.db", master_key=master_key)
    made = 0
    with Recorder(store, "s", durability=durability, scheduler=no_timers) as recorder:
        for name in ("api_key", "Authorization", "sessionToken", "client-secret", "PASSWORD"):
            for value in nested(name):
                for hook in HOOKS:
                    of = recorder.traces if hook.startswith("traces.") else recorder
                    made += call(getattr(of, hook.removeprefix("traces.")), value)
                recorder.happened(10**18, value).start_turn()
        assert recorder.flush(60)
        written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
        assert recorder.health.failed == 0
    assert made > 1000
    events = list(store.read("s"))
    assert not [(event.hook, event.payload) for event in events if SECRET in event.payload]
    assert SECRET.encode() not in written
    assert [event for event in events if REDACTED in event.payload]
    store.close()


def call(method: Any, value: Any) -> int:
    parameters = inspect.signature(method).parameters.values()
    done = method(**{p.name: value for p in parameters})
    if inspect.iscoroutine(done):
        with pytest.raises(StopIteration):
            done.send(None)
    return len(parameters)


# Recorder(redact=) -------------------------------------------------------------------------------------------------


def test_redact_sees_plain_arguments_and_decides_what_is_recorded() -> None:
    """Break: in eventstore/recording/recorder.py, ``_make_record``, return ``record`` as it is."""
    store, seen = MemoryStore(), []

    def redact(hook: str, args: dict[str, Any]) -> dict[str, Any]:
        seen.append((hook, dict(args)))
        if hook == "set_user_transcript":
            return {"transcript": args["transcript"].replace("4111", "****"), "new": 1}
        return {"duration": 1.5} if hook == "on_stt_complete" else args

    with Recorder(store, "s", redact=redact) as recorder:
        recorder.set_user_transcript("card 4111")
        recorder.happened(10**18, "raw").set_user_transcript("4111 again")
        recorder.on_stt_complete("words", 0.5)
        recorder.add_error("LLM", ValueError("no"))  # type: ignore[arg-type]
        recorder.set_eou_config(types.SimpleNamespace(mode="DEFAULT", api_key=SECRET))
        recorder.start_turn()
        assert recorder.health.unredacted == 0
    first, back_dated, stt, error, config, bare = by_seq(store)
    assert payload(first) == {"transcript": "card ****"}
    assert isinstance(payload(back_dated)[HAPPENED], int)
    assert {**payload(back_dated), HAPPENED: 0} == {HAPPENED: 0, RAW: REDACTED, "transcript": "**** again"}
    assert back_dated.payload.startswith('{"$happened_ns"')
    assert payload(stt) == {"transcript": REDACTED, "duration": 1.5, "confidence": REDACTED}
    assert payload(error) == {"source": "LLM", "message": "no"}
    assert payload(config)["config"] == {"mode": "DEFAULT", "api_key": REDACTED, "min_max_speech_wait_timeout": None}
    assert bare.payload == "{}"
    assert all(HAPPENED not in args for _hook, args in seen)
    assert [hook for hook, _args in seen][-1] == "set_eou_config", "there is nothing to redact in a call without any"


def by_seq(store: MemoryStore) -> list[Event]:
    return sorted(store.read("s"), key=lambda event: event.seq)


def payload(event: Event) -> dict[str, Any]:
    return orjson.loads(event.payload)  # type: ignore[no-any-return]


def _raise(_hook: str, _args: Any) -> Any:
    raise ValueError(SECRET)


def _recurse(hook: str, args: Any) -> Any:
    return _recurse(hook, args)


@pytest.mark.parametrize("durability", ["process", "memory"])
@pytest.mark.parametrize(
    "broken", [_raise, _recurse, lambda _h, _a: None, lambda _h, _a: [SECRET], lambda _h: {}, "no function"]
)
def test_redact_that_fails_neither_loses_nor_leaks(broken: Any, durability: Any, tmp_path: Path) -> None:
    """Break: in eventstore/hooks/redaction.py, return ``args`` where it fails."""
    store = open_store(tmp_path / "calls.db")
    with Recorder(store, "s", redact=broken, durability=durability) as recorder:
        recorder.set_user_transcript(SECRET)
        recorder.happened(10**18, SECRET).add_tts_characters(7)
        recorder.set_llm_usage({"prompt_tokens": SECRET})
        recorder.start_turn()
        assert recorder.health.unredacted == 3
        assert recorder.health.failed == recorder.health.dropped == 0
        assert SECRET not in str(recorder.health.last_error)
        assert recorder.flush(60)
        assert SECRET.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    events = sorted(store.read("s"), key=lambda event: event.seq)
    assert [payload(event).get("transcript") for event in events] == [REDACTED, None, None, None]
    assert payload(events[1]).keys() == {HAPPENED, RAW, "count"}
    assert isinstance(payload(events[1])[HAPPENED], int)
    replay(events)
    store.close()


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.sampled_from(sorted(HOOKS)), HOSTILE), max_size=6), st.booleans())
def test_nothing_that_a_hook_is_handed_gets_past_redact(calls: list[tuple[str, Any]], hide: bool) -> None:
    """Law 6 holds whatever ``redact`` returns."""
    store = MemoryStore()

    def redact(_hook: str, args: dict[str, Any]) -> Any:
        return {} if hide else calls[-1][1]

    with Recorder(store, "s", redact=redact, durability="memory", scheduler=no_timers) as recorder:
        for hook, value in calls:
            of = recorder.traces if hook.startswith("traces.") else recorder
            call(getattr(of, hook.removeprefix("traces.")), value)
        assert recorder.health.failed == 0
        assert recorder.flush(60)
    stored = by_seq(store)
    assert len(stored) >= len(calls)
    if hide:
        assert all(value == REDACTED for event in stored for value in payload(event).values())
    replay(stored)
