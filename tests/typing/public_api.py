"""The public names as a type checker sees them: `make types` reads this, nothing runs it.

A line with ``type: ignore`` must be an error: mypy warns if it is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, assert_type

import turnlog
from turnlog import Event, Reading, Recorder, Session, Store, open_store, replay, verify
from turnlog.adapters.livekit import LiveKitAdapter, attach

store = open_store("sqlite:///calls.db")
assert_type(store, Store)
assert_type(store.sessions(), list[Session])
assert_type(store.read("call-1"), Iterator[Event])
assert_type(store.append([]), Sequence[int])

with Recorder(store, "call-1") as recorder:
    recorder.on_user_speech_start()
    recorder.set_user_transcript("How are you?")
    recorder.set_user_transcript(transcript=7)  # type: ignore[arg-type]
    recorder.no_such_hook()  # type: ignore[attr-defined]
    assert_type(recorder.flush(5.0), bool)

events = list(store.read("call-1"))
call = replay(events)
assert_type(call, Reading | turnlog.Call)
if isinstance(call, Reading):
    assert_type(call.turns[0].e2e_latency, float | None)
assert_type(call.payloads, list[dict[str, Any]])
replay(events, rules=7)  # type: ignore[arg-type]
print(turnlog.no_such_name)  # type: ignore[attr-defined]
open_store()  # type: ignore[call-arg]
verify(store, "call-1")


def entrypoint(session: object) -> None:
    assert_type(attach(session, store, session_id="call-1"), LiveKitAdapter)
