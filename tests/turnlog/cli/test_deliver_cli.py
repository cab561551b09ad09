"""``turnlog deliver``: the program, in its own process, to real endpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from eventstore import open_store
from projections import analytics_payloads
from support.deliveries import speak, turns, wait_for
from support.http_receiver import Receiver
from support.program import FIXTURES, Program
from turnlog import Recorder


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def bodies(endpoint: Receiver) -> list[Any]:
    return [request.json()["data"][0] for request in endpoint.taken]


def test_payloads_of_real_calls_arrive_once_and_again_under_another_name(program: Program, endpoint: Receiver) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    store = open_store(program.db)
    expected = [
        p for s in store.sessions() for p in json.loads(json.dumps(analytics_payloads(store.read(s.session_id))))
    ]
    store.close()
    done = program.run("deliver", "analytics", "--endpoint", endpoint.url, "--header", "x-key=s3cr3t")
    assert done.stdout == f"1 session delivered, {len(expected)} items sent to analytics {endpoint.url}\n"
    assert done.stderr == ""
    assert bodies(endpoint) == expected
    assert {request.headers["x-key"] for request in endpoint.taken} == {"s3cr3t"}
    assert "nothing new" in program.run("deliver", "analytics", "--endpoint", endpoint.url).stdout
    program.run("deliver", "analytics", "--endpoint", endpoint.url, "--name", "env", TURNLOG_HEADERS="a=Bearer x, b=y")
    assert endpoint.taken[-1].headers["a"] == "Bearer x"
    assert endpoint.taken[-1].headers["b"] == "y"
    report = json.loads(
        program.run("deliver", "analytics", "--endpoint", endpoint.url, "--name", "second", "--json").stdout
    )
    assert report == {"exporter": "second", "sessions": 1, "sent": len(expected), "parked": {}, "left": {}}
    assert b"s3cr3t" not in program.db.read_bytes()


def test_the_vendor_gets_them_under_the_session_with_the_token(program: Program, endpoint: Receiver) -> None:
    program.run("import", FIXTURES / "demo.jsonl.gz")
    to = "deliver", "analytics", "--base-url", endpoint.url
    assert "VIDEOSDK_AUTH_TOKEN" in program.fails(*to, VIDEOSDK_AUTH_TOKEN="")
    program.run(*to, VIDEOSDK_AUTH_TOKEN="t0ken")
    assert {request.headers["authorization"] for request in endpoint.taken} == {"t0ken"}
    assert all(r.path.startswith("/v2/sessions/") and r.path.endswith("/agent-analytics") for r in endpoint.taken)


@pytest.mark.slow
def test_what_is_refused_is_listed_and_tried_again(program: Program, endpoint: Receiver) -> None:
    store = open_store(program.db)
    store.append([event for session in ("good", "bad") for event in turns(session, 2)])
    store.close()
    to = "deliver", "analytics", "--endpoint", endpoint.url
    assert program.run("deliver", "--parked").stdout == "nothing parked\n"
    endpoint.text = b"no room for [this]"
    endpoint.script = [200, 422]
    line = program.fails(*to, "--workers", "1")
    assert "1 of 2 sessions parked (turnlog deliver --parked)" in line
    assert "422" in line
    assert "no room for [this]" in line
    (listed,) = json.loads(program.run("deliver", "--parked", "--json").stdout)
    assert (listed["session_id"], listed["done"]) == ("bad", 1)
    shown = program.run("deliver", "--parked").stdout
    assert "bad" in shown
    assert "no room for" in shown
    assert "[this]" in shown
    assert "nothing new" in program.run(*to).stdout
    assert "1 session delivered, 1 item sent" in program.run(*to, "--parked").stdout
    assert "nothing parked" in program.run(*to, "--parked").stdout


def test_a_dead_endpoint_is_one_line_and_nothing_is_lost(program: Program, endpoint: Receiver) -> None:
    store = open_store(program.db)
    store.append(turns("s", 2))
    store.close()
    endpoint.behave = lambda _request: (503, {"retry-after": "3600"})  # longer than anybody waits
    line = program.fails("deliver", "analytics", "--endpoint", endpoint.url)
    assert "1 of 1 session not delivered, will be retried next run" in line
    assert "503" in line
    endpoint.behave = lambda _request: 200
    assert "2 items sent" in program.run("deliver", "analytics", "--endpoint", endpoint.url).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("otlp", "--endpoint", "nowhere"), "nowhere"),
        (("analytics", "--endpoint", "nowhere"), "http(s)://"),
        (("analytics", "--endpoint", "http://h", "--header", "s3cr3t"), "NAME=VALUE"),
        (("analytics", "--header", "a=b"), "--header needs --endpoint"),
        (("analytics", "--endpoint", "http://127.0.0.1:1", "--rules", "nobody's"), "nobody's"),
        (("analytics", "--endpoint", "http://127.0.0.1:1", "--follow", "--parked"), "--follow"),
        (("--parked", "analytics", "--endpoint", "http://127.0.0.1:1"), "go after its name"),
    ],
)
def test_bad_input_is_one_clear_line(program: Program, arguments: tuple[str, ...], says: str) -> None:
    store = open_store(program.db)
    store.append(turns("s", 1))
    store.close()
    line = program.fails("deliver", *arguments)
    assert says in line
    assert "s3cr3t" not in line


def test_without_a_database_none_is_made(program: Program) -> None:
    assert "no database" in program.fails("deliver", "analytics", "--endpoint", "http://127.0.0.1:1")
    assert "no database" in program.fails("deliver", "--parked")
    assert not program.db.exists()


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_following_delivers_a_call_while_it_goes_on_and_ends_when_told(
    program: Program, endpoint: Receiver, end: signal.Signals
) -> None:
    with closing(open_store(program.db)) as store, Recorder(store, "live") as recorder:
        speak(recorder, 0)
        recorder.flush()
        command = [sys.executable, "-m", "turnlog", "deliver", "analytics", "--endpoint", endpoint.url, "--follow"]
        process = subprocess.Popen(
            command, env=os.environ | {"TURNLOG_DB": str(program.db)}, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "live  1 sent\n"
        speak(recorder, 1)
        speak(recorder, 2)
        wait_for(lambda: len(endpoint.taken) == 3)
        process.send_signal(end)
        assert process.wait(20) == 0
        process.stdout.close()
    assert [body["user_speech"] for body in bodies(endpoint)] == ["0", "1", "2"]
