"""The page of a call as `turnlog view` serves it: the same page, fed by the server, and live."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from eventstore import open_store
from projections.caller import read
from support.browser import Viewer, Watched, viewing
from support.known_calls import recording, turn
from support.recorded import RECORDED
from turnlog.viewer.call.document import call_document

CALL = "barge_in_vad"
NAMES = ["a/b ?#%", "..", ".", "/", "a/document", "line\nfeed", "會話"]
"""Names of sessions; a browser or a router changes most of them in a path."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "calls.db"
    store = open_store(path)
    store.append(RECORDED[CALL])
    for name in NAMES:
        store.append([msgspec.structs.replace(event, session_id=name) for event in RECORDED[CALL]])
    store.close()
    return path


@pytest.fixture(scope="module")
def served(log: Path) -> Iterator[Viewer]:
    with viewing(log) as found:
        yield found


@pytest.fixture
def page(browser: Browser, served: Viewer) -> Iterator[Page]:
    one = Watched(browser)
    served.visit(one.page, f"/call?session={CALL}")
    one.page.wait_for_selector("body[data-ready]")
    yield one.page
    one.close()


@pytest.fixture
def http(served: Viewer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.origin, timeout=30) as found:
        assert found.get(served.url).status_code == 303
        yield found


def test_the_document_is_what_the_engine_computes(http: httpx.Client) -> None:
    answer = http.get(f"/call/document?session={CALL}")
    assert answer.json() == json.loads(json.dumps(call_document(RECORDED[CALL])))


def test_a_name_may_have_any_characters(browser: Browser, served: Viewer) -> None:
    """Break: in viewer/pages.py, ``call_url``, quote the name into the path."""
    one = Watched(browser)
    for name in NAMES:
        served.visit(one.page)
        one.page.get_by_role("link", name=name.replace("\n", " "), exact=True).click()
        one.page.wait_for_selector("body[data-ready]")
        assert one.page.evaluate("document.querySelectorAll('.turn-head').length") == len(read(RECORDED[CALL]).turns)
    one.close()


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("/call/document?session=nothing", 404, "unknown session 'nothing'"),
        (f"/call/document?session={CALL}&rules=x", 400, "unknown rule set 'x'"),
        (f"/call/explain?session={CALL}&path=turns[9].e2e_latency", 400, "there is no turns[9]"),
        (f"/call/explain?session={CALL}", 400, "path is missing"),
        (f"/call/state?session={CALL}&at=x", 400, "at is not a number"),
        (f"/call/state?session={CALL}&at=-1", 400, "at is not a number"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(http: httpx.Client, path: str, status: int, line: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.text.count("\n")) == (status, 1)
    assert line in answer.text


def test_an_unknown_session_has_a_page_that_says_so(http: httpx.Client) -> None:
    answer = http.get("/call?session=barge_in_vat")
    assert answer.status_code == 404
    assert "did you mean" in answer.text


def test_figures_states_and_rule_sets_come_from_the_server(page: Page) -> None:
    page.locator("#turn .response .figure").first.click()
    expect(page.locator("#why")).to_contain_text("on_agent_speech_start")
    page.locator("#at").fill("60")
    expect(page.locator(".turn-head")).to_have_count(len(read(RECORDED[CALL][:61]).turns))
    page.get_by_role("button", name="Latest").click()
    page.locator("#rules").select_option("videosdk-1.0.30")
    expect(page.locator("#turn .response")).to_contain_text("E2E latency")
    page.locator("#compare").select_option("videosdk-1.0")
    expect(page.locator("#changes")).to_contain_text("between videosdk-1.0.30 and videosdk-1.0")


def test_the_address_brings_back_what_was_seen(page: Page) -> None:
    page.locator(".turn-head").nth(2).click()
    page.locator("#at").fill("130")
    expect(page.locator(".turn-head")).to_have_count(len(read(RECORDED[CALL][:131]).turns))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#at-text")).to_contain_text("event #130 of")
    expect(page.locator(".turn-head[aria-current]")).to_contain_text("Turn 3")


ROWS = """async (documents) => {
  const { indexed } = await import("/static/call_data.js");
  return documents.map((doc) => indexed(doc).lanes.map((lane) => lane.lines.map(({ spans }) => spans)));
}"""


def test_spans_of_a_row_do_not_overlap(page: Page) -> None:
    """Break: in call_lanes.js, ``rowOf``, take row 0; or do not set ``row``, where a chosen span is outlined."""
    calls = [call_document(events) for events in RECORDED.values() if len(events) < 250]
    for doc, lanes in zip(calls, page.evaluate(ROWS, calls), strict=True):
        drawn = [span for lane in lanes for line in lane for span in line]
        assert len(drawn) == sum(span["lane"] not in ("turns", "session") for span in doc["spans"])
        for line in (line for lane in lanes for line in lane[:5]):
            assert all(two["start"] >= one["until"] - 1e-9 for one, two in pairwise(line))
        for lane in lanes:
            assert [span["row"] for line in lane[:5] for span in line] == [
                n for n, line in enumerate(lane[:5]) for _ in line
            ]


@pytest.mark.slow
def test_an_ongoing_call_grows_as_it_is_recorded(browser: Browser, tmp_path: Path) -> None:
    """Break: in page.py, never yield a delta."""
    store = open_store(tmp_path / "live.db")
    with recording(store, "live") as (recorder, clock):
        turn(recorder, clock, ttft=300)
        recorder.flush()
        with viewing(tmp_path / "live.db") as served:
            one = Watched(browser)
            served.visit(one.page, "/call?session=live")
            one.page.wait_for_selector("body[data-ready]")
            expect(one.page.locator("#live")).to_contain_text("live")
            for number in (2, 3):
                turn(recorder, clock, ttft=100 * number)
                recorder.flush()
                expect(one.page.locator(".turn-head")).to_have_count(number)
            recorder.finalize_session()
            recorder.flush()
            expect(one.page.locator("#live")).to_contain_text("ended")
            one.close()
    store.close()
