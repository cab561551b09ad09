"""An agent's log lines arrive, once and in order, whatever the endpoint does; and nothing secret goes with them."""

from __future__ import annotations

import gc
import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore.stores.memory import MemoryStore
from exporters.delivery.retry import pause
from exporters.reference import log_manager
from exporters.reference.job_logger import JobLogger, LogManager
from exporters.reference.log_queue import LogQueue
from projections import replay
from support.examples import examples
from support.http_receiver import Answer, Receiver
from support.log_bodies import bodies, texts
from support.strategies import Evil
from turnlog import Recorder

TOKEN, KEY, HEADER = "token-9f2c1a", "jwt-77aa31", "header-5b1d0e"
LONG = 60.0
AT_ONCE = {"retry-after": "0"}
names = (f"tested-{n}" for n in itertools.count())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_manager, "pause", lambda: pause(0, 0))


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger(next(names))
    yield found
    found.handlers.clear()


@pytest.fixture
def manager() -> Iterator[LogManager]:
    found = LogManager(flush_interval_seconds=0.0)
    yield found
    found.stop(0)


def job(to: LogManager | LogQueue, logger: logging.Logger, **more: Any) -> JobLogger:
    queue = to.get_queue() if isinstance(to, LogManager) else to
    more = {"send_logs_to_dashboard": True, "namespace": logger.name} | more
    return JobLogger(queue, "room", "peer", TOKEN, **more)


def test_the_body_is_the_reference_s(manager: LogManager, logger: logging.Logger) -> None:
    """Field for field; tests/differential/log_bodies.py compares with the reference itself."""
    with Receiver() as endpoint:
        caught = job(manager, logger, sdk_metadata={"sdk": "agents", "sdk_version": "9.9"}, session_id="first")
        caught.update_context(sessionId="s-1")
        manager.start(TOKEN)
        caught.set_endpoint(endpoint.url, KEY)
        logger.getChild("tools").warning("%s of %d", "two", 3, extra={"log_attributes": {"order": 7}})
        manager.stop(LONG)
        caught.cleanup()
        logger.warning("after cleanup")
    (request,) = endpoint.requests
    body = request.json()
    moment = body["attributes"].pop("dateTime")
    assert len(moment) == len("2026-01-31 23:59:59,999")
    assert body == {
        "logType": "WARNING", "logText": "two of 3", "debugMode": False, "dashboardLog": False,
        "serviceName": "videosdk-otel-telemetry-agents",
        "attributes": {
            "roomId": "room", "peerId": "peer", "sessionId": "s-1", "sdk.name": "AGENTS", "sdk.version": "9.9",
            "service.name": "videosdk-otel-telemetry-agents", "origin": f"{logger.name}.tools", "level": "WARNING",
            "order": 7,
        },
    }  # fmt: skip
    assert request.headers["authorization"] == KEY
    assert request.headers["content-type"] == "application/json"


@settings(max_examples=examples(30))
@given(
    st.lists(
        st.sampled_from([200, 200, (400, AT_ONCE), (429, AT_ONCE), (500, AT_ONCE), (503, AT_ONCE), "cut"]), max_size=12
    ),
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
)
def test_each_record_arrives_once_and_in_order_or_is_counted(
    answers: list[Answer], records: int, batch: int, arrays: bool
) -> None:
    """Break: in log_manager.py, give up on `Busy`; or in log_queue.py, take the newest first."""
    logger = logging.getLogger(next(names))
    with Receiver(*answers) as endpoint:
        manager = LogManager(batch, 0.0, arrays=arrays)
        caught = job(manager, logger)
        manager.update_endpoint(endpoint.url)
        manager.start()
        sent = [f"line {n}" for n in range(records)]
        for text in sent:
            logger.info(text)
        assert manager.stop(LONG) == 0
        caught.cleanup()
    arrived, refused = texts(endpoint), texts(endpoint, 400)
    assert arrived == [text for text in sent if text not in refused]
    assert sorted(arrived + refused) == sorted(sent)
    health = manager.health
    assert (health.sent, health.refused, health.waiting, health.dropped) == (len(arrived), len(refused), 0, 0)
    assert (health.last_error is not None) == (endpoint.taken != endpoint.requests)
    assert all(len(bodies(request)) <= (batch if arrays else 1) for request in endpoint.requests)


def test_a_batch_is_one_request_where_the_endpoint_takes_arrays(logger: logging.Logger) -> None:
    """Break: in log_manager.py, ``run``, post one by one."""
    manager = LogManager(batch_size=10, flush_interval_seconds=LONG, arrays=True)
    job(manager, logger)
    with Receiver() as endpoint:
        for n in range(25):
            logger.info("line %d", n)
        manager.update_endpoint(endpoint.url)
        manager.start()
        assert [len(endpoint.wait_for(n).json()) for n in (1, 2)] == [10, 10]
        manager.stop(LONG)
        assert texts(endpoint) == [f"line {n}" for n in range(25)]
        assert len(endpoint.requests) == 3


def test_without_an_endpoint_the_newest_are_kept(logger: logging.Logger) -> None:
    """Break: in log_queue.py, ``put_nowait``, drop nothing; or count nothing."""
    manager = LogManager(flush_interval_seconds=0.0, limit=5)
    caught = job(manager, logger)
    manager.start()
    for n in range(8):
        logger.info("line %d", n)
    assert manager.health[:3] == (0, 5, 3)
    with Receiver() as endpoint:
        caught.set_endpoint(endpoint.url)
        manager.stop(LONG)
        assert texts(endpoint) == [f"line {n}" for n in range(3, 8)]
        assert manager.health[:3] == (5, 0, 3)


def test_the_endpoint_says_when_to_come_back(
    manager: LogManager, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in exporters/delivery/retry.py, ``pause``, look at the backoff alone."""
    pauses: list[float] = []
    monkeypatch.setattr(LogQueue, "pause", lambda _self, _number, seconds, _closing: pauses.append(seconds))
    with Receiver((429, {"retry-after": "7"}), (500, {"retry-after": "7"})) as endpoint:
        job(manager, logger)
        logger.info("line")
        manager.update_endpoint(endpoint.url)
        manager.start()
        endpoint.wait_for(3)
        manager.stop(LONG)
        assert pauses == [7.0, 7.0]
        assert texts(endpoint) == ["line"]


def test_stop_does_not_wait_for_an_endpoint_that_hangs(
    manager: LogManager, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """Break: in log_manager.py, ``stop``, join without a timeout; or do not abandon."""
    with Receiver("hang") as endpoint:
        job(manager, logger)
        manager.update_endpoint(endpoint.url)
        manager.start()
        logger.info("first")
        endpoint.wait_for(1)
        logger.info("second")
        assert manager.stop(0.01) == 2
        assert manager.health[:3] == (0, 0, 2)
        assert "2 log records were not sent" in caplog.text
        assert manager.stop(0.01) == 0, "a second stop changes nothing"
        logger.info("third")
        manager.start()
        assert endpoint.wait_for(2).json()["logText"] == "third"
        assert manager.stop(LONG) == 0
        assert manager.health[:3] == (1, 0, 2)


def test_what_comes_back_too_late_counts_no_more() -> None:
    """It was counted as dropped. Break: in log_queue.py, ``settle``, do not ask for the round."""
    queue = LogQueue(limit=10, batch=1)
    queue.set_endpoint("http://x", "", None)
    number = queue.open()
    queue.put_nowait(b"{}")
    assert queue.take(number, 0.0) == [b"{}"]
    assert queue.abandon() == 1
    queue.settle(number, 1)
    assert queue.health[:4] == (0, 0, 1, 0)
    assert queue.take(number, 0.0) == []


def test_stop_tries_once_more_what_waits_for_later(
    manager: LogManager, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Break: in log_queue.py, ``pause``, wait on when the round is closed."""
    waits, pause = threading.Event(), LogQueue.pause

    def seen(queue: LogQueue, number: int, seconds: float, closing: bool) -> None:
        waits.set()
        pause(queue, number, seconds, closing)

    monkeypatch.setattr(LogQueue, "pause", seen)
    with Receiver(*[(503, {"retry-after": "3600"})] * 2) as endpoint:
        job(manager, logger)
        manager.update_endpoint(endpoint.url)
        manager.start()
        logger.info("line")
        assert waits.wait(LONG)
        assert manager.stop(5) == 1, "an hour is longer than there is time for"
        assert len(endpoint.requests) == 2
        assert "503" in str(manager.health.last_error)


def test_what_is_logged_over_sending_is_not_sent(
    manager: LogManager, caplog: pytest.LogCaptureFixture, logger: logging.Logger
) -> None:
    """With every logger heard at DEBUG, httpx's and httpcore's too. Break: in job_logs.py, hear every thread."""
    store = MemoryStore()
    with caplog.at_level(logging.DEBUG), Receiver(500, 400) as endpoint, Recorder(store, "s") as recorder:
        root = logging.getLogger()
        caught = job(manager, root, dashboard_log_level="DEBUG", namespace="", recorder=recorder)
        manager.update_endpoint(endpoint.url)
        manager.start()
        logging.getLogger("turnlog").warning("ours")
        mine = [f"line {n}" for n in range(3)]
        for text in mine:
            logger.info(text)
        assert manager.stop(LONG) == 0
        caught.cleanup()
        recorder.flush()
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    assert {"line 0", "line 1", "line 2"} == set(texts(endpoint, 400) + texts(endpoint))
    lines = replay(store.read("s")).logs
    assert [(line.message, line.logger, line.level) for line in lines] == [(m, logger.name, "INFO") for m in mine]


def test_records_become_events_whether_or_not_they_are_sent(logger: logging.Logger) -> None:
    """Break: in job_logs.py, ``emit``, record only what is sent."""
    manager, store = LogManager(), MemoryStore()
    with Recorder(store, "s") as recorder:
        caught = job(manager, logger, recorder=recorder, send_logs_to_dashboard=False)
        logger.error("no order", extra={"log_attributes": {"order": 7}})
        caught.update_context(send_logs_to_dashboard=True)
        logger.debug("below the level")
        logger.info("now to both")
    first, second = replay(store.read("s")).logs
    assert (first.level, first.message, first.attributes) == ("ERROR", "no order", {"order": 7})
    assert abs(first.created - second.created) < LONG
    assert second.attributes == {}
    assert manager.health.waiting == 1


def test_a_record_is_final_when_it_is_logged(manager: LogManager, logger: logging.Logger) -> None:
    """Break: in job_logs.py, format the message later."""
    attributes, order = {"order": [1]}, [1]
    job(manager, logger)
    logger.propagate = False  # pytest's own handler raises over what does not fit
    logger.info("order %s", order, extra={"log_attributes": attributes})
    order.append(2)
    attributes["order"].append(2)
    try:
        raise ValueError("no such order")
    except ValueError:
        logger.exception("failed")
    logger.info("%d items", "three")
    logger.info(Evil())
    logger.info("odd", extra={"log_attributes": {"n": float("nan"), "o": object, "s": "\ud800"}})
    with Receiver() as endpoint:
        manager.update_endpoint(endpoint.url)
        manager.start()
        manager.stop(LONG)
    found = bodies(*endpoint.requests)
    assert found[0]["logText"] == "order [1]"
    assert found[0]["attributes"]["order"] == [1]
    assert found[1]["logText"].startswith("failed\nTraceback")
    assert found[1]["logText"].endswith("ValueError: no such order")
    assert [body["logText"] for body in found[2:]] == ["%d items", "<unprintable Evil>", "odd"]
    assert found[4]["attributes"]["n"] is None
    assert "$altered" not in found[4]


def test_a_record_that_cannot_be_kept_is_counted(logger: logging.Logger) -> None:
    """And the host goes on. Break: in job_logs.py, ``emit``, catch nothing."""

    class Broken:
        def log_record(self, *_args: Any) -> None:
            raise RuntimeError(TOKEN)

    manager = LogManager()
    job(manager, logger, recorder=Broken())
    logger.info("line")
    assert manager.health.dropped == 1
    assert manager.health.last_error == "a log record could not be kept: RuntimeError"


@pytest.mark.parametrize("url", ["", "/gone", "https://nowhere.invalid:1", "nonsense", "ftp://x", "http://[bad"])
@pytest.mark.parametrize("custom", [None, {"X-Key": f"Bearer {HEADER}"}, {"X-Key": f"{HEADER}\n\u20ac"}])
def test_nothing_secret_leaves(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, url: str, custom: dict[str, str] | None
) -> None:
    """Not in a record, a log line, an error, or what any object shows of itself; the endpoint even sends it back.

    Break: in exporters/delivery/http.py, ``_without``, return the text; or in log_queue.py, show the ``Endpoint``.
    """
    store = MemoryStore()
    with caplog.at_level(logging.DEBUG), Receiver(500, 400, 400) as endpoint, Recorder(store, "s") as recorder:
        manager = LogManager(flush_interval_seconds=0.0)
        caught = job(manager, logger, recorder=recorder)
        caught.update_context(authToken=TOKEN)
        caught.set_endpoint(endpoint.url if url in ("", "/gone") else url, KEY, custom)
        manager.start(TOKEN)
        logger.warning("line")
        logger.warning("another")
        manager.stop(0.2)
        manager.stop()
    shown = [repr(x) + str(vars(x) if hasattr(x, "__dict__") else "") for x in (manager, caught, manager.queue)]
    shown += [repr(manager.queue.endpoint), repr(manager.health), caplog.text]
    shown += [repr(vars(record)) for record in caplog.records]
    shown += [request.body.decode() for request in endpoint.requests]
    shown += [event.payload for event in store.read("s")]
    for secret in (TOKEN, KEY, HEADER):
        found = [text for text in shown if secret in text.replace(f"'authToken': '{TOKEN}'", "")]
        assert not found, secret
    assert manager.health.last_error is not None
    assert (manager.health.sent, manager.health.waiting) == (0, 0)


def test_a_forked_child_sends_none_of_its_parent_s_records() -> None:
    """Break: in log_queue.py, do nothing after a fork."""
    script = """
import logging, os, sys
from exporters.reference.job_logger import JobLogger, LogManager
manager = LogManager(flush_interval_seconds=0.0)
caught = JobLogger(manager.get_queue(), "r", "p", send_logs_to_dashboard=True, namespace="tested")
manager.start()
logging.getLogger("tested").info("from the parent")
child = os.fork()
if child == 0:
    logging.getLogger("tested").info("from the child")
    manager.start()
    caught.set_endpoint(sys.argv[1])
    os._exit(manager.stop(60))
assert os.waitpid(child, 0)[1] == 0
assert manager.health.waiting == 1
assert manager.stop(0) == 1
"""
    with Receiver() as endpoint:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, endpoint.url], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "1 log records were not sent: no endpoint was set" in done.stderr
        assert texts(endpoint) == ["from the child"]


def test_many_threads_log_at_once(manager: LogManager, logger: logging.Logger) -> None:
    def work(name: str) -> None:
        for n in range(50):
            logger.info("%s %d", name, n)

    manager = LogManager(flush_interval_seconds=0.0, arrays=True)
    job(manager, logger)
    with Receiver() as endpoint:
        manager.update_endpoint(endpoint.url)
        manager.start()
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert manager.stop(LONG) == 0
        for name in "abcd":
            assert [text for text in texts(endpoint) if text[0] == name] == [f"{name} {n}" for n in range(50)]
    gc.collect()
    assert endpoint.requests[0].json()
