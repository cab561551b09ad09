"""Content is encrypted, and can be forgotten; everything else stays as it was."""

from __future__ import annotations

import base64
import gzip
import os
import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Event, Recorder, Store, open_store
from eventstore.errors import IdentityConflict, StoreError
from eventstore.hooks.arguments import ALTERED, RAW
from eventstore.hooks.content import HIDDEN, READABLE, presence, without_content
from eventstore.hooks.vocabulary import HOOKS
from eventstore.integrity.session import verify
from eventstore.stores.encrypted import (
    SEALED,
    EncryptedStore,
    MasterKey,
    NotSealable,
    WrongMasterKey,
    forget,
    with_encryption,
)
from eventstore.stores.memory import MemoryStore
from projections.reference.replay import replay
from support.events import event
from support.examples import examples
from support.program import FIXTURES, Program
from support.strategies import sessions
from turnlog.archive import files as archive
from turnlog.archive.retention import retire
from turnlog.recordings import events_of, read_recordings

MASTER = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()
SECRET = "my card number is 4111"

NOTHING_READABLE = {
    "set_session_id", "set_system_instructions", "on_stt_preflight_end", "set_llm_input", "set_user_transcript",
    "on_knowledge_base_start", "set_realtime_model_error", "traces.set_session_id", "traces.agent_say_called",
    "traces.agent_reply_called", "session_ended", "agent_active",
}  # fmt: skip


def transcript(seq: int, text: str = SECRET, **names: str) -> Event:
    return Event(names.get("session", "s"), "o", seq, "set_user_transcript", 1, seq, seq, f'{{"transcript":"{text}"}}')


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def sealed(store: Store) -> Store:
    """Every backend, with a master key."""
    return with_encryption(store, MASTER)


def test_every_hook_was_thought_about() -> None:
    """A new hook has readable arguments, or is listed as having none; until then it is sealed."""
    assert {name for name, hook in HOOKS.items() if hook.arguments} == NOTHING_READABLE | READABLE.keys()
    assert not NOTHING_READABLE & READABLE.keys()
    for name, arguments in READABLE.items():
        assert arguments.keys() <= HOOKS[name].arguments.keys()


PLANTED = "my card is 4111"
ANYWHERE = st.recursive(
    st.sampled_from(
        [PLANTED, PLANTED + " 1111", "x" + PLANTED, "4111", "1.5", "STT", "http", "gpt-4o", "", None, True, 7]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [PLANTED, "start_time", "mode", "component_type", "old_state", "prompt_tokens", "message", "k"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(max_examples=examples(40))
@given(st.data())
@pytest.mark.parametrize("hook", sorted(name for name, hook in HOOKS.items() if hook.arguments))
def test_nothing_said_stays_readable(hook: str, data: st.DataObject) -> None:
    """Whatever the arguments are: in keys, nested, misplaced, or of the wrong type.

    Break: in eventstore/hooks/content.py, let ``number``, ``state`` or ``entries`` return what they are given.
    """
    names = [*HOOKS[hook].arguments, RAW, ALTERED, "an argument of a newer turnlog", PLANTED]
    args = data.draw(st.dictionaries(st.sampled_from(names), ANYWHERE, min_size=1))
    inner = MemoryStore()
    sealed = with_encryption(inner, MASTER)
    given = Event("s", "o", 0, hook, HOOKS[hook].version, 1, 1, orjson.dumps(args).decode())
    sealed.append([given])
    (stored,) = inner.read("s")
    assert "4111" not in stored.payload.replace(ciphertext(stored), "")
    assert list(sealed.read("s")) == [given]
    replay([stored])


def ciphertext(stored: Event) -> str:
    return str(orjson.loads(stored.payload).get("$sealed", "-"))


@pytest.mark.parametrize(
    ("hook", "argument", "readable", "hidden"),
    [
        ("set_provider_info", "provider_class", ["DeepgramSTTV2", "livekit.plugins.openai.llm.LLM", "OpenAILLM#0"],
         ["Ada Lovelace", "sk-live-123", "a@b.example", "+4917012345", "x" * 65, "https://x/?token=1"]),
        ("set_provider_info", "model_name", ["gpt-4o-mini", "accounts/fireworks/models/llama-v3p1-70b", "gemini-2.0"],
         ["my card is 4111", "4111111111111111", "sk-proj-abc", "0" * 32, "a" * 25, "Bearer x", "ada@x.example"]),
        ("set_provider_info", "component_type", ["stt", "STT"], ["billing"]),
        ("set_framework", "version", ["1.0.24", "1.2.0rc1", "0.0.80"], ["4111.1111.1111.1111", "1", "four"]),
        ("log_record", "level", ["INFO", "error"], ["SECRET"]),
        ("log_record", "logger", [], ["my_agent.tools"]),
        ("add_error", "source", ["TURN-D"], ["Ada"]),
        ("add_function_tool_call", "tool_name", [], ["call_dr_smith"]),
        ("add_function_tool_call", "start_time", [1.5, 3, True], ["1.5", [1], {"a": 1}]),
        ("add_participant_metrics", "participant_id", [], ["ada", 4111]),
        ("set_llm_usage", "usage", [{"prompt_tokens": 7}], [{"ada": 7}, {"prompt_tokens": "7"}, [7]]),
        ("set_agent_response", "response", ["", None], ["x", 7, False]),
    ],
)  # fmt: skip
def test_what_stays_readable(hook: str, argument: str, readable: list[object], hidden: list[object]) -> None:
    for value in readable:
        assert without_content(hook, orjson.dumps({argument: value}).decode()) is None
    for value in hidden:
        shown = without_content(hook, orjson.dumps({argument: value}).decode())
        assert shown is not None
        assert orjson.loads(shown)[argument] in (HIDDEN, {}, [HIDDEN], {"prompt_tokens": HIDDEN})


def test_a_name_that_is_there_twice_hides_nothing_behind_itself() -> None:
    """Break: in eventstore/hooks/content.py, compare what was decoded instead of bytes."""
    assert without_content("add_tts_characters", '{"count":"my card","count":7}') == b'{"count":7}'


def test_the_documents_list_what_stays_readable() -> None:
    """Break: take a line of the table out of docs/trust.md."""
    text = (FIXTURES.parent / "docs" / "trust.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| (.+) \|$", text, re.MULTILINE))
    assert {hook: set(re.findall(r"`(\w+)`", arguments)) for hook, arguments in listed.items()} == {
        hook: set(arguments) for hook, arguments in READABLE.items()
    }


def test_what_is_recorded_is_read_back_to_the_byte(sealed: Store) -> None:
    events = [
        transcript(0),
        event(1),
        transcript(2, "मौसम 🙂"),
        Event("s", "o", 3, "set_llm_input", 1, 3, 3, '{ "text" : "x" }'),
    ]
    positions = sealed.append(events)
    assert list(sealed.read("s")) == events
    assert list(sealed.append(events)) == list(positions), "a repeat is harmless"
    with pytest.raises(IdentityConflict):
        sealed.append([transcript(0, "other words")])
    assert verify(sealed, "s") == []
    following = sealed.follow()
    assert [next(following).event for _ in events] == events
    following.close()  # type: ignore[attr-defined]


def test_no_content_reaches_the_database(tmp_path: Path, postgres_url: str) -> None:
    """Break: in eventstore/stores/encrypted.py, ``_seal``, return the event."""
    folder = tmp_path / "data"
    for url in (f"sqlite:///{folder}/calls.db", postgres_url):
        store = open_store(url, migrate=True, master_key=MASTER)
        store.append([transcript(0), event(1)])
        stored = [linked.event for _origin, chain in store.chains("s") for linked in chain]
        assert stored[0].payload.startswith(SEALED)
        assert orjson.loads(stored[0].payload)["transcript"] == HIDDEN
        assert SECRET not in stored[0].payload
        assert stored[1] == event(1)
        store.close()
    assert SECRET.encode() not in bytes_of(folder)
    assert base64.b64decode(MASTER) not in bytes_of(folder)


def test_the_journal_keeps_no_copy(tmp_path: Path) -> None:
    """Break: in eventstore/recording/journal.py, ``acknowledge``, do not wipe."""
    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    with Recorder(store, "s") as recorder:
        for n in range(100):
            recorder.set_user_transcript(f"{SECRET} {n}")
        assert recorder.flush()
        assert store.journal is not None
        assert list(store.journal.iterdir()), "the segment is still in use"
        assert SECRET.encode() not in bytes_of(tmp_path)
        recorder.set_user_transcript("more")
    assert len(list(store.read("s"))) == 101
    store.close()


def test_without_the_key_metrics_are_the_same_and_content_is_not_there(tmp_path: Path) -> None:
    """Every turn, span and latency of recorded real calls; only text is hidden."""
    recordings = [r for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")]
    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    plain = {r.name: events_of("", r) for r in recordings}
    for events in plain.values():
        store.append(events)
    bare = EncryptedStore(store._store)  # type: ignore[attr-defined]
    heard = 0
    for name, events in plain.items():
        full, hidden, again = replay(events), replay(bare.read(name)), replay(store.read(name))
        assert again == full
        assert len(full.turns) == len(hidden.turns)
        assert len(full.spans) == len(hidden.spans)
        for mine, theirs in zip(full.payloads, hidden.payloads, strict=True):
            assert numbers(mine) == numbers(theirs)
        spoken = [p[who] for p in full.payloads for who in ("user_speech", "agent_speech") if p[who]]
        heard += len(spoken)
        assert not [text for text in spoken if text in str(hidden)]
    assert heard > 100
    store.close()


def numbers(value: object) -> object:
    """All but text."""
    if isinstance(value, dict):
        return {name: numbers(item) for name, item in value.items() if name not in ("toolParams", "toolResponse")}
    if isinstance(value, list):
        return list(map(numbers, value))
    return value if not isinstance(value, str) else bool(value)


def test_forget(sealed: Store) -> None:
    sealed.append([transcript(0), event(1), transcript(0, session="t")])
    before = [origin for origin, _chain in sealed.chains("s")]
    left = forget(sealed, "s")
    assert left.wrapped is None
    assert left.forgotten_ns
    assert forget(sealed, "s") == left, "again changes nothing"
    hidden, timing = sealed.read("s")
    assert HIDDEN in hidden.payload
    assert timing == event(1)
    assert [origin for origin, _chain in sealed.chains("s")] == before
    assert verify(sealed, "s") == []
    assert list(sealed.read("t")) == [transcript(0, session="t")], "another session has a key of its own"
    fresh = with_encryption(sealed._store, MASTER)  # type: ignore[attr-defined]
    fresh.append([transcript(2)])  # a recorder is still active: its events are kept without content
    assert SECRET not in str(list(fresh.read("s")))
    assert [e.seq for e in fresh.read("s")] == [0, 1, 2]
    with pytest.raises(StoreError, match="not encrypted"):
        forget(sealed, "nobody")


def test_a_forgotten_key_is_gone_from_the_file(tmp_path: Path) -> None:
    """No part of it remains anywhere, even while other processes have the database open.

    Break: in eventstore/stores/ledger.py, ``_begin``, switch ``secure_delete`` off; or leave the checkpoint out.
    """
    folder = tmp_path / "data"
    store = open_store(folder / "calls.db", master_key=MASTER)
    store.append([transcript(0, session=f"session-{n}") for n in range(20)])
    key = store.ledger.key("session-7")
    assert key is not None
    assert key.wrapped is not None
    pieces = [key.wrapped[at : at + 8] for at in range(0, len(key.wrapped) - 8, 8)]
    assert all(piece in bytes_of(folder) for piece in pieces)
    forget(store, "session-7")
    assert not [piece for piece in pieces if piece in bytes_of(folder)]
    store.close()


@pytest.mark.parametrize("statement", ["DELETE FROM keys", "UPDATE keys SET wrapped = x'00'"])
def test_a_key_can_only_be_destroyed(tmp_path: Path, statement: str) -> None:
    import sqlite3

    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    store.append([transcript(0)])
    with sqlite3.connect(tmp_path / "calls.db") as meddler, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        meddler.execute(statement)
    meddler.close()
    store.close()


def test_what_was_sealed_cannot_be_moved_or_changed_unseen(store: Store) -> None:
    sealed = with_encryption(store, MASTER)
    sealed.append([transcript(0)])
    (stolen,) = store.read("s")
    store.append([Event("s", "o", 1, "set_user_transcript", 1, 1, 1, stolen.payload)])
    with pytest.raises(StoreError, match="event 1 .* does not decrypt"):
        list(sealed.read("s"))


def test_the_wrong_key_and_no_key(store: Store) -> None:
    with_encryption(store, MASTER).append([transcript(0)])
    with pytest.raises(WrongMasterKey, match="another master key"):
        list(with_encryption(store, OTHER).read("s"))
    keyless = with_encryption(store, None)
    assert HIDDEN in next(iter(keyless.read("s"))).payload
    assert keyless.append([event(1)]), "there is nothing to hide in it"
    with pytest.raises(NotSealable, match="set TURNLOG_MASTER_KEY"):
        keyless.append([transcript(2)])
    for wrong in ("", "short", "%%%", MASTER[:-8]):
        with pytest.raises(StoreError, match="must be 32 bytes in base64"):
            MasterKey(wrong)
    assert MASTER not in repr(MasterKey(MASTER))


def test_a_recorder_without_the_key_loses_nothing(tmp_path: Path) -> None:
    """Its calls stay in the journal until a process with the key stores them."""
    open_store(tmp_path / "calls.db", master_key=MASTER).append([transcript(0, session="t")])
    store = open_store(tmp_path / "calls.db")
    recorder = Recorder(store, "s")
    recorder.set_user_transcript(SECRET)
    assert not recorder.flush(timeout=0.5)
    assert "TURNLOG_MASTER_KEY" in str(recorder.health.last_error)
    assert not recorder.close(timeout=0.1)
    store.close()
    store = open_store(tmp_path / "calls.db", master_key=MASTER)
    with Recorder(store, "u") as another:
        assert another.flush()
    assert [orjson.loads(e.payload) for e in store.read("s")] == [{"transcript": SECRET}]
    store.close()


@given(sessions())
def test_any_session_comes_back_as_it_was(events: list[Event]) -> None:
    inner = MemoryStore()
    sealed = with_encryption(inner, MASTER)
    sealed.append(events)
    plain = MemoryStore()
    plain.append(events)
    assert list(sealed.read("s")) == list(plain.read("s"))
    for stored in inner.read("s"):
        args = orjson.loads(stored.payload)
        args.pop("$sealed", None)
        shown = orjson.dumps(args).decode()
        assert without_content(stored.hook, shown) in (None, shown.encode()), "nothing is left to hide"


@pytest.mark.parametrize("payload", ["not json", "[1]", '"text"', "", '{"number":4111}', '{"a":{"b":["c"]}}'])
def test_what_is_not_known_is_hidden_whole(store: Store, payload: str) -> None:
    """A hook of a newer turnlog, or a payload that turnlog did not write."""
    sealed = with_encryption(store, MASTER)
    odd = Event("s", "o", 0, "on_something_new", 1, 1, 1, payload)
    sealed.append([odd])
    assert list(sealed.read("s")) == [odd]
    (stored,) = store.read("s")
    visible = orjson.loads(stored.payload)
    assert visible.pop("$sealed")
    assert "4111" not in str(visible)
    assert "'c'" not in str(visible)


@pytest.mark.parametrize(
    "payload", ['{"$sealed":"', '{"$sealed":"%%%"}', '{"$sealed":"AAAA"}', '{"$sealed":"AAAA', "{}"]
)
def test_a_damaged_ciphertext_is_an_error_in_one_line(store: Store, payload: str) -> None:
    sealed = with_encryption(store, MASTER)
    sealed.append([transcript(0)])
    store.append([Event("s", "o", 1, "set_user_transcript", 1, 1, 1, payload)])
    if payload == "{}":
        assert len(list(sealed.read("s"))) == 2
        return
    with pytest.raises(StoreError, match="event 1 .* does not decrypt"):
        list(sealed.read("s"))


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
    | st.dictionaries(st.text(), st.text())
)
def test_hiding_twice_changes_nothing(value: object) -> None:
    assert presence(presence(value)) == presence(value)


def test_the_commands(program: Program) -> None:
    """Import under a key, read without, forget, verify."""
    program.run("import", FIXTURES / "demo.jsonl.gz", TURNLOG_MASTER_KEY=MASTER)
    question = "What is your return policy?"
    assert question in program.run("replay", "barge_in_vad", TURNLOG_MASTER_KEY=MASTER).stdout
    bare = program.run("replay", "barge_in_vad").stdout
    assert question not in bare
    assert "is sealed (set TURNLOG_MASTER_KEY) or forgotten" in bare
    assert HIDDEN in program.run("replay", "barge_in_vad", "--rules", "videosdk-1.0").stdout
    assert "another master key" in program.fails("replay", "barge_in_vad", TURNLOG_MASTER_KEY=OTHER)
    assert "openssl rand" in program.fails("sessions", TURNLOG_MASTER_KEY="nonsense")
    assert "set TURNLOG_MASTER_KEY" in program.fails("import", FIXTURES / "demo.jsonl.gz")
    assert "content forgotten" in program.run("forget", "barge_in_vad", "--yes").stdout
    forgotten = orjson.loads(program.run("forget", "barge_in_vad", "--yes", "--json").stdout)
    assert forgotten["forgotten_ns"] > 0
    assert forgotten["remains"] == []
    assert question not in program.run("replay", "barge_in_vad", TURNLOG_MASTER_KEY=MASTER).stdout
    assert "or forgotten" in program.run("replay", "barge_in_vad", TURNLOG_MASTER_KEY=MASTER).stdout
    assert "all hash chains valid" in program.run("verify").stdout
    assert "did you mean" in program.fails("forget", "barge_in")


def test_the_environment_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNLOG_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    store = open_store(tmp_path / "calls.db")
    assert store.encrypts
    store.append([transcript(0)])
    store.close()
    monkeypatch.delenv("TURNLOG_MASTER_KEY")
    store = open_store(tmp_path / "calls.db")
    assert store.encrypts, "the log remembers that it is"
    store.close()


def test_what_was_forgotten_is_gone_from_archives_too(store: Store, tmp_path: Path) -> None:
    """An archive restores order, times and chain, into the same or a different log, without content."""
    sealed = with_encryption(store, MASTER)
    sealed.append([transcript(0), event(1), transcript(2, "again")])
    chain = [origin for origin, _stored in sealed.chains("s")]
    (removal,) = retire(sealed, sealed.sessions(), tmp_path)
    forget(sealed, "s")
    elsewhere = with_encryption(MemoryStore(), MASTER)
    for log in (sealed, elsewhere):
        for _place, events in archive.read_archive(Path(removal.archive)):
            log.append(events)
        assert [origin for origin, _stored in log.chains("s")] == chain
        assert verify(log, "s") == []
        assert [e.seq for e in log.read("s")] == [0, 1, 2]
        assert SECRET not in str(list(log.read("s")))


def test_an_archive_of_an_encrypted_session_comes_back_with_its_content(store: Store, tmp_path: Path) -> None:
    sealed = with_encryption(store, MASTER)
    events = [transcript(0), event(1)]
    sealed.append(events)
    (removal,) = retire(sealed, sealed.sessions(), tmp_path)
    assert SECRET.encode() not in gzip.decompress(Path(removal.archive).read_bytes())
    for _place, archived in archive.read_archive(Path(removal.archive)):
        sealed.append(archived)
    assert list(sealed.read("s")) == events
