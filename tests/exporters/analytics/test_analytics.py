"""Analytics over HTTP, against a real server. Each test says which line to break to see it red."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.analytics.destination import TOKEN, Analytics, routing
from exporters.delivery.destination import Busy, NotConfigured, Refused
from exporters.delivery.retry import pause
from exporters.reference import analytics_client
from exporters.reference.analytics_client import AnalyticsClient
from projections.reference.replay import Call, replay
from support.examples import examples
from support.http_receiver import Answer, Receiver
from support.program import FIXTURES
from turnlog.recordings import events_of, read_recordings

SECRET = "tok-5ecret"
CALLS = {
    r.name: replay(events_of("", r)) for _place, r in read_recordings(FIXTURES / "recordings.jsonl.gz")
}  # fmt: skip
CALL = max(CALLS.values(), key=lambda call: len(call.payloads))
PAYLOADS = [{"n": n, "text": "ünï"} for n in range(8)]


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setattr(analytics_client, "pause", lambda: pause(0, 0))


def deliver(call: Call, **options: Any) -> None:
    to = Analytics(routing(token=SECRET, **options))
    try:
        for item in to.items(call):
            to.send([item])
    finally:
        to.close()


def vendor(session_id: str) -> str:
    return f"/v2/sessions/{session_id}/agent-analytics"


def named(call: Call, session_id: Any, log_name: str = "log") -> Call:
    session = SimpleNamespace(**{f: getattr(call.session, f) for f in call.session.__struct_fields__})
    session.session_id = session_id
    return call._replace(session=session, session_name=log_name)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_the_routing_table(endpoint: Receiver, enabled: bool, own: bool, first: bool) -> None:
    """Break: in exporters/analytics/destination.py, ``_targets``, any of its conditions."""
    call = named(CALL, "s 1")
    count = len(call.payloads)
    assert count >= 2
    export_url = endpoint.url + "/own?a=b" if own else None
    deliver(call, enabled=enabled, export_url=export_url, vendor_first_turn=first, base_url=endpoint.url)
    bodies = [{"data": [payload]} for payload in call.payloads]
    to_vendor = [t.json() for t in endpoint.taken if t.path == vendor("s%201")]
    to_own = [t.json() for t in endpoint.taken if t.path == "/own?a=b"]
    assert len(to_vendor) + len(to_own) == len(endpoint.taken)
    # enabled, an endpoint of one's own, the first to the vendor: how many the vendor gets, and how many go there
    table = {
        (False, False, False): (0, 0),
        (False, False, True): (1, 0),
        (False, True, False): (0, 0),
        (False, True, True): (1, 0),
        (True, False, False): (count, 0),
        (True, False, True): (count, 0),
        (True, True, False): (0, count),
        (True, True, True): (1, count),
    }
    vendor_gets, own_gets = table[enabled, own, first]
    assert to_vendor == bodies[:vendor_gets]
    assert to_own == bodies[:own_gets]


def test_headers(endpoint: Receiver) -> None:
    """The token goes to the vendor alone, headers of one's own nowhere else; they come before ours but for the key."""
    mine = {"X-Key": "k-5ecret", "Content-Type": "application/x-mine", "Idempotency-Key": "one for all"}
    deliver(
        CALL, export_url=endpoint.url, export_headers=mine, vendor_first_turn=True, base_url=endpoint.url
    )  # fmt: skip
    first, own, *_rest = endpoint.taken
    assert first.headers["authorization"] == SECRET
    assert first.headers["content-type"] == "application/json"
    assert "x-key" not in first.headers
    assert "authorization" not in own.headers
    assert own.headers["x-key"] == "k-5ecret"
    assert own.headers["content-type"] == "application/x-mine"
    assert own.headers["idempotency-key"] == first.headers["idempotency-key"] != "one for all"


@pytest.mark.parametrize(
    ("framework", "payload", "expected"),
    [
        ("room/1 ü", None, "room%2F1%20%C3%BC"),
        ("..", None, "%2E%2E"),
        ("a?b#c", None, "a%3Fb%23c"),
        (17, None, "17"),
        (None, "from-payload", "from-payload"),
        ("", None, "the%20log"),
    ],
)
def test_the_session_is_one_segment(endpoint: Receiver, framework: Any, payload: Any, expected: str) -> None:
    """Break: in exporters/analytics/destination.py, ``vendor_url``, quote with ``safe="/"`` or leave the dots."""
    call = named(CALL, framework, "the log")._replace(payloads=[{"sessionId": payload}] if payload else [{}])
    deliver(call, base_url=endpoint.url + "/")
    assert [t.path for t in endpoint.taken] == [vendor(expected)]


def test_keys_and_content() -> None:
    """The same for the same post, in any process; another for another number, session or content.

    Break: in exporters/analytics/destination.py, ``posts``, leave out of the key what is named there, or the body.
    """
    to = routing(token=SECRET)
    posts = [*to.posts(1, {"a": 1}, "s", "x"), *to.posts(2, {"a": 1}, "s", "x"), *to.posts(1, {"a": 2}, "s", "x")]
    posts += to.posts(1, {"a": 1}, "t", "x")
    assert len({post.key for post in posts}) == 4
    (renamed,) = to.posts(1, {"a": 1}, "s", "the framework's name came later")
    assert (renamed.key, renamed.body) == (posts[0].key, posts[0].body)
    assert (posts[0].key, posts[0].body) == ("53d69dbece213040fac8cebeb8b0d13f", b'{"data":[{"a":1}]}')
    destination = Analytics(to)
    assert [destination.encode(post) for post in posts[:2]] == [posts[0].body] * 2
    destination.close()
    (nothing,) = to.posts(1, {"a": float("nan"), 1: "ü"}, "s", "x")
    assert nothing.body == '{"data":[{"a":null,"1":"ü"}]}'.encode()
    with pytest.raises(Refused, match="payload 3 of session 's' cannot be written as JSON"):
        list(to.posts(3, {"a": object()}, "s", "x"))


def test_the_items_of_a_call_that_goes_on_only_grow() -> None:
    """Also when the framework names the session after its first turn."""
    to = Analytics(routing(token=SECRET, export_url="http://own", vendor_first_turn=True))
    whole = [(to.encode(item), item.key) for item in to.items(named(CALL, "x"))]
    for count in range(len(CALL.payloads)):
        part = to.items(named(CALL, None)._replace(payloads=CALL.payloads[:count]))
        assert [(to.encode(item), item.key) for item in part] == whole[: len(part)]
    to.close()


def test_names_tell_routings_apart_and_no_secret() -> None:
    """Break: in exporters/analytics/destination.py, ``_name``, return the first line's alone."""
    made = [
        routing(token=SECRET),
        routing(enabled=False),
        routing(token=SECRET, enabled=False, vendor_first_turn=True),
        routing(export_url=f"https://me:{SECRET}@own/x?key={SECRET}"),
        routing(token=SECRET, export_url="https://own/x", vendor_first_turn=True),
        routing(token=SECRET, base_url="https://elsewhere"),
    ]
    names = set()
    for one in made:
        to = Analytics(one)
        names.add(to.name)
        to.close()
    assert len(names) == len(made)
    assert not any(SECRET in name for name in names)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, f"set {TOKEN}"),
        ({"enabled": False, "vendor_first_turn": True}, f"set {TOKEN}"),
        ({"export_url": "http://own", "vendor_first_turn": True}, f"set {TOKEN}"),
        ({"export_url": f"ftp://x:{SECRET}@own/"}, "'ftp://own/' is not a valid URL"),
        ({"export_url": "own.example/x"}, "is not a valid URL"),
        ({"token": SECRET, "base_url": "https://"}, "is not a valid URL"),
        ({"token": SECRET + "\nX: y"}, "'authorization' cannot be sent"),
        ({"export_url": "http://own", "export_headers": {"X-Key": SECRET + "ü"}}, "'X-Key' cannot be sent"),
        ({"export_url": "http://own", "export_headers": {"X-Key": 7}}, "'X-Key' cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_reported_at_once(options: dict[str, Any], reason: str) -> None:
    """Break: in exporters/analytics/destination.py, ``routing``, any of its checks."""
    with pytest.raises(NotConfigured, match=reason) as error:
        routing(**options)
    assert SECRET not in str(error.value)


def test_the_token_of_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch, endpoint: Receiver) -> None:
    """Break: in exporters/analytics/destination.py, ``routing``, do not strip it."""
    monkeypatch.setenv(TOKEN, f" {SECRET}\n")
    to = Analytics(routing(base_url=endpoint.url))
    monkeypatch.delenv(TOKEN)
    to.send(to.items(CALL)[:1])
    to.close()
    assert endpoint.taken[0].headers["authorization"] == SECRET


@pytest.mark.parametrize(
    ("outcome", "error", "reason"),
    [
        (400, Refused, "400 Bad Request"),
        (401, Refused, "401 Unauthorized"),
        (302, Refused, "302 Found"),
        (429, Busy, "429 Too Many"),
        ((503, {"retry-after": "7"}), Busy, "503 Service"),
        (500, Busy, "500 Internal"),
        ("hang", Busy, "no response within"),
        ("reset", Busy, "Remote|ReadError"),
        ("cut", Busy, "Remote"),
        ("garbage", Busy, "Remote"),
    ],
)
def test_outcomes_are_classified(endpoint: Receiver, outcome: Answer, error: type[Exception], reason: str) -> None:
    """Break: in exporters/analytics/destination.py, ``Routing.send``, catch what `post` raises."""
    endpoint.script = [outcome]
    headers = {"X-Key": SECRET, "Authorization": f"Bearer {SECRET}"}
    to = Analytics(routing(export_url=endpoint.url, export_headers=headers), 0.2 if outcome == "hang" else 60)
    with pytest.raises(error, match=reason) as raised:
        to.send(to.items(CALL)[:1])
    assert SECRET not in str(raised.value) + repr(raised.value) + repr(to.__dict__) + repr(to.items(CALL)[:1])
    if isinstance(raised.value, Busy):
        assert raised.value.retry_after_seconds == (7 if "503" in reason else None)
    to.close()


def test_no_repr_shows_a_secret() -> None:
    """Break: in exporters/analytics/destination.py, ``Routing``, take ``repr=False`` from a field."""
    one = routing(token=SECRET, export_url=f"http://own/?k={SECRET}", export_headers={"X-Key": SECRET})
    assert SECRET not in repr(one)


# the client ---------------------------------------------------------------------------------------------------------

FAILURES = st.sampled_from([500, 503, 429, (429, {"retry-after": "0"}), "reset", "garbage", 200, "taken and cut"])


@settings(max_examples=examples(25))
@given(st.lists(FAILURES, max_size=12))
def test_every_payload_once_and_in_order(script: list[Answer]) -> None:
    """Whatever fails, until the server recovers. A payload whose answer was lost comes again with the same key.

    Break: in exporters/reference/analytics_client.py, ``_post``, do not retry; or in ``_run``, take from the other end.
    """
    with Receiver(*script) as endpoint:
        with AnalyticsClient("s", token=SECRET, base_url=endpoint.url) as client:
            for payload in PAYLOADS:
                client.send_interaction_analytics_safe(payload)
            assert client.flush(60)
            assert client.health[:4] == (0, len(PAYLOADS), 0, 0)
        by_key = {taken.headers["idempotency-key"]: taken.json() for taken in endpoint.taken}
        assert list(by_key.values()) == [{"data": [payload]} for payload in PAYLOADS]
        used = script[: len(endpoint.requests)]
        assert len(endpoint.taken) == len(PAYLOADS) + used.count("taken and cut")


def test_a_refused_payload_holds_up_nobody(endpoint: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in exporters/reference/analytics_client.py, ``_post``, count nothing over `Refused`."""
    endpoint.script = [200, 401]
    with AnalyticsClient("s", token=SECRET, base_url=endpoint.url) as client:
        for payload in PAYLOADS[:3]:
            client.send_interaction_analytics_safe(payload)
        assert client.flush(60)
        waiting, sent, refused, dropped, last_error = client.health
        assert (waiting, sent, refused, dropped) == (0, 2, 1, 0)
        assert "401" in (last_error or "")
    assert [taken.json()["data"][0]["n"] for taken in endpoint.taken] == [0, 2]
    assert "refused" in caplog.text
    assert SECRET not in caplog.text + str(last_error)


def test_the_reference_s_ways_to_use_it(endpoint: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured late, named late, awaited or not; with an event loop and without."""
    monkeypatch.setenv(TOKEN, SECRET)
    client = AnalyticsClient(base_url=endpoint.url, vendor_first_turn=True)
    client.send_interaction_analytics_safe({"n": 0, "sessionId": "own"})
    client.set_session_id("later")
    asyncio.run(client.send_interaction_analytics({"n": 1}))
    client.configure(SimpleNamespace(enabled=True, export_url=endpoint.url + "/own", export_headers={"X-Key": "k"}))
    client.send_interaction_analytics_safe({"n": 2})
    client.send_interaction_analytics_safe({"n": 3})
    client.configure(SimpleNamespace(enabled=False, export_url=None, export_headers=None))
    client.send_interaction_analytics_safe({"n": 4})
    client.send_interaction_analytics_safe({"n": 5})
    assert client.close(60)
    assert [(taken.path, taken.json()["data"][0]["n"]) for taken in endpoint.taken] == [
        (vendor("own"), 0), (vendor("later"), 1), (vendor("later"), 2), ("/own", 2), ("/own", 3), (vendor("later"), 4),
    ]  # fmt: skip


def test_it_is_no_singleton_and_needs_a_token_at_once() -> None:
    """Break: in exporters/reference/analytics_client.py, ``__init__``, do not configure."""
    with pytest.raises(NotConfigured, match=TOKEN):
        AnalyticsClient("s")
    own = SimpleNamespace(enabled=True, export_url="http://own", export_headers=None)
    with AnalyticsClient("a", own) as one, AnalyticsClient("b", own) as other:
        assert (one.session_id, other.session_id) == ("a", "b")
        with pytest.raises(NotConfigured, match=TOKEN):
            one.configure(None)


def test_it_never_raises_into_the_agent(endpoint: Receiver) -> None:
    """Break: in exporters/reference/analytics_client.py, ``send_interaction_analytics_safe``, catch nothing."""
    client = AnalyticsClient(token=SECRET, base_url=endpoint.url)
    for odd in ({"a": object()}, None, {"a": "\ud800"}, {"a": 1 << 70}):
        client.send_interaction_analytics_safe(odd)  # type: ignore[arg-type]
    assert client.health.refused == 4
    client.send_interaction_analytics_safe({"a": 1})
    assert client.flush(60)
    assert "set_session_id" in (client.health.last_error or "")
    client.set_session_id("x\ud800")
    client.send_interaction_analytics_safe({"a": 1})
    assert client.close(60)
    client.send_interaction_analytics_safe({"too": "late"})
    assert client.health[1:4] == (1, 5, 1)
    assert [taken.path for taken in endpoint.taken] == [vendor("x%3F")]


def test_a_payload_is_sent_as_it_was(endpoint: Receiver) -> None:
    """Though the agent goes on to change it, while the endpoint is busy.

    Break: in exporters/reference/analytics_client.py, keep the payload and make the post when it is sent.
    """
    endpoint.script = ["hang"]
    payload: dict[str, Any] = {"n": 1}
    with AnalyticsClient("s", token=SECRET, base_url=endpoint.url, timeout_seconds=0.2) as client:
        client.send_interaction_analytics_safe({"n": 0})
        endpoint.wait_for(1)
        client.send_interaction_analytics_safe(payload)
        payload["n"] = 2
        assert client.flush(60)
    assert [taken.json()["data"][0]["n"] for taken in endpoint.taken][-1] == 1


def test_the_queue_is_bounded_and_keeps_the_newest(endpoint: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break: in exporters/reference/analytics_client.py, ``_add``, take from the other end."""
    monkeypatch.setattr(analytics_client, "LIMIT", 3)
    endpoint.script = ["hang"]
    with AnalyticsClient("s", token=SECRET, base_url=endpoint.url, timeout_seconds=60) as client:
        client.send_interaction_analytics_safe(PAYLOADS[0])
        endpoint.wait_for(1)  # it is out of the queue
        for payload in PAYLOADS[1:]:
            client.send_interaction_analytics_safe(payload)
        assert client.health[:4] == (4, 0, 0, 4)
        endpoint.released.set()
        assert client.flush(60)
    assert [taken.json()["data"][0]["n"] for taken in endpoint.taken] == [0, 5, 6, 7]


def test_closing_does_not_wait_for_ever(endpoint: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Break: in exporters/reference/analytics_client.py, ``close``, leave out what is lost;

    or in ``_post``, the stop.
    """
    caplog.set_level(logging.WARNING)
    endpoint.behave = lambda _request: 503
    client = AnalyticsClient("s", token=SECRET, base_url=endpoint.url)
    for payload in PAYLOADS:
        client.send_interaction_analytics_safe(payload)
    endpoint.wait_for(1)
    assert not client.close(0.01)
    assert client.health.waiting == 0
    assert client.health.dropped == len(PAYLOADS)
    assert "8 posts dropped" in caplog.text
    assert client._thread is not None
    client._thread.join(20)
    assert not client._thread.is_alive()
    assert SECRET not in caplog.text
