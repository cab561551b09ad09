"""The playground's stream: live is replay here, too. Each test says which line to break to see it red."""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import Clock, Event, Recorder, Store, canonical, open_store
from eventstore.errors import StoreUnavailable
from eventstore.stores.memory import MemoryStore
from exporters import web as served
from exporters.playground import stream as playground
from exporters.playground.server import PlaygroundServer
from exporters.playground.stream import Published, attach_playground, message, messages, published_messages, sse
from exporters.web import CannotServe
from projections.reference.replay import replay
from support.examples import examples
from support.program import FIXTURES, Program
from turnlog.conformance import no_timers
from turnlog.recordings import RecordedClock, drive, events_of, read_recordings

RECORDING = max(
    (r for _place, r in read_recordings(FIXTURES / "conformance.jsonl.gz")),
    key=lambda r: len(r.model_extra["expect"]["playground"]) if r.model_extra else 0,
)
EVENTS = events_of("", RECORDING)
NAME = RECORDING.name
ALL = published_messages(EVENTS)


class Seen:
    """Collects what a callback is given, and can be waited for."""

    def __init__(self) -> None:
        self.found: list[Published] = []
        self._changed = threading.Condition()

    def __call__(self, one: Published) -> None:
        with self._changed:
            self.found.append(one)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Published]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.found) >= count, 60), f"{len(self.found)} of {count}"
            return list(self.found)


def test_the_messages_of_a_replay() -> None:
    """With unique ids. Break: in exporters/playground/stream.py, ``message``, leave out `_reorder`."""
    assert len(ALL) > 50
    assert [one.message for one in ALL] == [message(of) for of in replay(EVENTS).playground]
    assert len({one.id for one in ALL}) == len(ALL)
    assert any(one.id.endswith(":1") for one in ALL), "an event with two messages"
    whole = next(json.loads(one.message["metrics"]) for one in ALL if one.message["full_turn_data"])
    assert list(whole)[-6:-4] == ["session_metrics", "background_audio_file_path"]  # as the reference's TurnMetrics
    assert {type(one.message["metrics"]) for one in ALL} == {str}
    assert {one.message["type"] for one in ALL} == {"cascading"}


def test_live_is_replay(store: Store) -> None:
    """Attached before the first call, while another session is recorded into the same store.

    Break: in exporters/playground/stream.py, ``fold``, do not clear the messages; or in ``messages``, follow all
    sessions.
    """
    live, late = Seen(), Seen()
    first = attach_playground(store, NAME, live)
    clock = RecordedClock()
    with (
        Recorder(store, "another", durability="memory") as other,
        Recorder(
            store, NAME, durability="memory", clock=Clock(clock.read_perf_ns, clock.read_wall_ns), scheduler=no_timers
        ) as recorder,
    ):
        half = len(RECORDING.calls) // 2
        drive(recorder, clock, RECORDING.calls[:half])
        recorder.flush()
        other.set_playground_manager(object())
        other.on_user_speech_start()
        other.on_user_speech_end()
        second = attach_playground(store, NAME, late)
        drive(recorder, clock, RECORDING.calls[half:])
    expected = published_messages(store.read(NAME))
    assert [one.message for one in expected] == [one.message for one in ALL]
    assert live.wait_for(len(ALL)) == expected
    assert late.wait_for(len(ALL)) == expected
    assert first.close()
    assert second.close()
    assert not first.running


def split(seed: int, origins: int) -> list[Event]:
    """The recording as if several recorders had made it, its events stored in an order that chance made."""
    chance = random.Random(seed)
    counts = [0] * origins
    found = []
    for event in EVENTS:
        n = chance.randrange(origins)
        # one clock for all, so that the canonical order is the recording's
        found.append(
            Event(NAME, f"o{n}\n{n}", counts[n], event.hook, event.version, event.perf_ns, event.perf_ns, event.payload)
        )
        counts[n] += 1
    chance.shuffle(found)
    return found


@settings(max_examples=examples(15))
@given(st.integers(0, 2**16), st.integers(1, 3), st.integers(1, 200))
def test_whatever_the_order_of_arrival_each_message_comes_once(seed: int, origins: int, batch: int) -> None:
    """All of those of the replay, by their ids.

    Break: in exporters/playground/stream.py, ``add``, fold whatever comes.
    """
    store = MemoryStore()
    events, stop = split(seed, origins), threading.Event()
    stream, seen = messages(store, NAME, stop=stop), list[Published]()
    for at in range(0, len(events), batch):
        store.append(events[at : at + batch])
    whole = published_messages(store.read(NAME))
    while len(seen) < len(whole):
        seen.append(next(stream))
    assert seen == whole, "it caught up at once"

    store, seen = MemoryStore(), []
    stream_of = playground._Stream("videosdk-1.0")
    for event in events:
        store.append([event])
        seen += stream_of.add(event, store)
    ids = [one.id for one in seen]
    assert len(set(ids)) == len(ids)
    assert {one.id for one in published_messages(store.read(NAME))} <= set(ids)


def test_going_on_behind_a_message(sqlite: Store) -> None:
    """Break: in exporters/playground/stream.py, ``_skip_to``, yield the message itself, too."""
    sqlite.append(EVENTS[:-30])
    for at in (0, 7, len(published_messages(EVENTS[:-30])) - 1):
        seen = Seen()
        attachment = attach_playground(sqlite, NAME, seen, after=ALL[at].id)
        sqlite.append(EVENTS)
        assert seen.wait_for(len(ALL) - at - 1) == ALL[at + 1 :]
        attachment.close()
    seen = Seen()
    attachment = attach_playground(sqlite, NAME, seen, after="nobody:7:0")
    assert seen.wait_for(len(ALL)) == ALL
    attachment.close()


def test_a_callback_that_raises(sqlite: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in exporters/playground/stream.py, ``Attachment._run``, catch nothing around the callback."""
    seen = Seen()

    def callback(one: Published) -> None:
        seen(one)
        raise RuntimeError("the room is gone")

    attachment = attach_playground(sqlite, NAME, callback)
    with Recorder(sqlite, NAME) as recorder:
        recorder.set_playground_manager(object())
        for _ in range(3):
            recorder.on_user_speech_start()
            recorder.on_user_speech_end()
        assert recorder.flush()
        count = len(published_messages(sqlite.read(NAME)))
        assert count > 1
        assert len(seen.wait_for(count)) == count
        assert recorder.health[2:7] == (0, 0, 0, 0, None)
    assert attachment.close()
    assert attachment.failed == count
    assert attachment.last_error == "RuntimeError: the room is gone"
    assert "the room is gone" in caplog.text


def test_a_callback_may_close_its_own(sqlite: Store) -> None:
    """Break: in exporters/playground/stream.py, ``Attachment.close``, join always."""
    sqlite.append(EVENTS)
    closed, ready = threading.Event(), threading.Event()

    def callback(_one: Published) -> None:
        ready.wait(60)
        attachment.close()
        closed.set()

    attachment = attach_playground(sqlite, NAME, callback)
    ready.set()
    assert closed.wait(60)
    assert attachment.close()
    assert attachment.failed == 0


def test_what_only_a_newer_turnlog_reads_ends_the_stream(sqlite: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in exporters/playground/stream.py, ``Attachment._run``, leave out the log line."""
    sqlite.append([Event(NAME, "o", 0, "on_telepathy", 1, 1, 1, "{}")])
    attachment = attach_playground(sqlite, NAME, print)
    attachment._thread.join(60)
    assert not attachment.running
    assert "on_telepathy" in (attachment.last_error or "")
    assert "on_telepathy" in caplog.text


def test_a_database_that_goes_away(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message still comes once. Break: in exporters/playground/stream.py, ``messages``, do not catch it."""
    monkeypatch.setattr(playground, "RETRY_SECONDS", 0.0)
    half = len(EVENTS) // 2
    sqlite.append(EVENTS[:half])
    follow, read, failures = sqlite.follow, sqlite.read, iter(range(40))

    def failing(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for n, followed in enumerate(follow(*args, **kwargs)):
            if n == 2 and next(failures, None) is not None:
                raise StoreUnavailable("gone")
            yield followed

    def unreadable(session_id: str) -> Iterator[Event]:
        if next(failures, 40) < 3:
            raise StoreUnavailable("gone")
        return read(session_id)

    monkeypatch.setattr(sqlite, "follow", failing)
    monkeypatch.setattr(sqlite, "read", unreadable)
    seen = Seen()
    attachment = attach_playground(sqlite, NAME, seen)
    seen.wait_for(len(published_messages(EVENTS[:half])))
    sqlite.append(EVENTS[half:])
    assert seen.wait_for(len(ALL)) == ALL
    attachment.close()


# Server-Sent Events -------------------------------------------------------------------------------------------------


def test_events_as_bytes() -> None:
    """Break: in exporters/playground/stream.py, ``sse``, one line end less, or in ``fold``, do not quote."""
    text = sse(ALL[0]) + sse(None)
    data = json.dumps(ALL[0].message, separators=(",", ":"), ensure_ascii=False)
    assert text.decode() == f"id: {ALL[0].id}\nevent: AGENT_METRICS\ndata: {data}\n\n:\n\n"
    odd = [one._replace(message={"metrics": "two\nlines\r"}) for one in published_messages(canonical(split(1, 2)))]
    assert b"".join(map(sse, odd)).count(b"\n") == 4 * len(odd)


class Client:
    """Reads a stream in a thread."""

    def __init__(self, url: str, after: str | None = None) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.headers: httpx.Headers | None = None
        self._thread = threading.Thread(target=self._run, args=(url, {"Last-Event-ID": after} if after else {}))
        self._thread.start()

    def _run(self, url: str, headers: dict[str, str]) -> None:
        with httpx.stream("GET", url, headers=headers, timeout=60) as answer:
            self.headers = answer.headers
            found: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _colon, value = line.partition(": ")
                found[name] = value
                if not line:
                    self._queue.put(found)
                    found = {}
        self._queue.put(None)

    def take(self, count: int) -> list[Published]:
        taken = []
        while len(taken) < count:
            found = self._queue.get(timeout=60)
            assert found is not None
            if "data" in found:
                assert found["event"] == "AGENT_METRICS"
                taken.append(Published(found["id"], json.loads(found["data"])))
        return taken

    def wait_until_it_ends(self) -> None:
        while self._queue.get(timeout=60) is not None:
            pass
        self._thread.join()


@pytest.fixture
def server(sqlite: Store) -> Iterator[PlaygroundServer]:
    made = PlaygroundServer(sqlite, NAME, "127.0.0.1", 0)
    yield made
    made.close()


def test_two_clients_and_one_that_comes_back(sqlite: Store, server: PlaygroundServer) -> None:
    """Break: in exporters/playground/server.py, ``_stream``, begin at 0."""
    half = len(EVENTS) // 2
    early = Client(server.url)
    sqlite.append(EVENTS[:half])
    before = len(published_messages(EVENTS[:half]))
    assert early.take(before) == ALL[:before]
    later = Client(server.url)
    assert later.take(3) == ALL[:3]
    again = Client(server.url, after=ALL[2].id)
    sqlite.append(EVENTS[half:])
    assert early.take(len(ALL) - before) == ALL[before:]
    assert later.take(len(ALL) - 3) == ALL[3:]
    assert again.take(len(ALL) - 3) == ALL[3:]
    assert early.headers is not None
    assert early.headers["content-type"] == "text/event-stream"
    assert "access-control-allow-origin" not in early.headers
    assert httpx.get(server.url + "favicon.ico").status_code == 404
    server.close()
    for client in (early, later, again):
        client.wait_until_it_ends()


def test_a_client_that_says_nothing_holds_up_no_end(server: PlaygroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in exporters/web.py, ``_Protocol.shutdown``, do nothing."""
    monkeypatch.setattr(served, "REQUEST_SECONDS", 3600)  # nothing else ends it
    closing = threading.Thread(target=server.close)
    with socket.create_connection(("127.0.0.1", server.port)):
        assert httpx.get(server.url + "x").status_code == 404  # accepted after the silent one
        closing.start()
        closing.join(20)
        ended = not closing.is_alive()
    closing.join()
    assert ended


def test_an_idle_stream_shows_that_it_is_there(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in exporters/playground/server.py, ``_stream``, yield nothing at the timeout."""
    monkeypatch.setattr("exporters.playground.server.IDLE_SECONDS", 0.01)
    server = PlaygroundServer(sqlite, NAME, "127.0.0.1", 0, allow_origin="http://localhost:3000")
    with httpx.stream("GET", server.url, headers={"origin": "http://localhost:3000"}, timeout=60) as answer:
        assert next(answer.iter_lines()) == ":"
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    with pytest.raises(CannotServe, match=f"cannot serve on 127.0.0.1:{server.port}"):
        PlaygroundServer(sqlite, NAME, "127.0.0.1", server.port)
    server.close()


# the command --------------------------------------------------------------------------------------------------------


def begin(program: Program, *arguments: str) -> subprocess.Popen[str]:
    store = open_store(program.db)
    store.append(EVENTS)
    store.close()
    return subprocess.Popen(
        [sys.executable, "-m", "turnlog", "playground", NAME, *arguments],
        env=os.environ | {"TURNLOG_DB": str(program.db)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_it_is_told_to_end(program: Program, by: signal.Signals) -> None:
    """Break: in turnlog/cli/commands/serve.py, ``_interruption``, handle one signal less."""
    with begin(program, "--port", "0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("serving ").strip()
        client = Client(url)
        assert client.take(len(ALL)) == ALL
        process.send_signal(by)
        client.wait_until_it_ends()
        _out, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, f"following the playground messages of {NAME}; Ctrl-C ends\n")


def test_the_program_prints_lines_and_follows(program: Program) -> None:
    """Break: in turnlog/cli/commands/serve.py, print the message without its id."""
    with begin(program) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in ALL]
        assert lines == [{"id": one.id, **one.message} for one in ALL]
        process.send_signal(signal.SIGINT)
        _out, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, f"following the playground messages of {NAME}; Ctrl-C ends\n")
    assert "unknown session 'nobody'" in program.fails("playground", "nobody")
