"""The viewer on Postgres, and calls of frameworks other than VideoSDK in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from eventstore import open_store
from support.browser import viewing, watched
from support.known_calls import MARCH_NS
from support.logs import Log
from support.recorded import RECORDED
from support.viewed_calls import answered, call

CALL = "barge_in_vad"


def test_a_log_on_postgres(browser: Browser, postgres_url: str) -> None:
    """Break: in viewer/call/page.py, read from a log that is always empty."""
    store = open_store(postgres_url, migrate=True)
    store.append(RECORDED[CALL])
    store.append(RECORDED["fallback_llm"])
    store.close()
    with viewing(postgres_url) as viewer, watched(browser) as one:
        viewer.visit(one.page)
        expect(one.page.locator("tbody th")).to_have_count(2)
        one.page.get_by_role("link", name=CALL).click()
        one.page.wait_for_selector("body[data-ready]")
        expect(one.page.locator(".turn-head")).to_have_count(4)
        one.page.locator("#turn .response .figure").first.click()
        expect(one.page.locator("#why")).to_contain_text("on_agent_speech_start")
        one.page.locator("#at").fill("60")
        expect(one.page.locator("#at-text")).to_contain_text("event #60 of")
        viewer.visit(one.page, f"/compare?one={CALL}&other=fallback_llm")
        expect(one.page.get_by_role("heading", name="Turn by turn")).to_be_visible()
        viewer.visit(one.page, "/statistics")
        expect(one.page.get_by_text("Turns measured")).to_be_visible()


def of_framework(name: str, reported: str, figure: dict[str, object]) -> Log:
    return [
        (0, "set_framework", {"name": name, "version": "1.2.3"}),
        *answered(),
        (6000, "framework_event", {"name": reported, "arguments": figure}),
    ]


@pytest.mark.parametrize(
    ("name", "reported", "figure"),
    [
        ("livekit-agents", "conversation_item_added", {"item": {"metrics": {"e2e_latency": 1.5}}}),
        ("pipecat-ai", "user_bot_latency", {"seconds": 1.5}),
    ],
)
def test_a_call_of_another_framework(
    browser: Browser, tmp_path: Path, name: str, reported: str, figure: dict[str, object]
) -> None:
    """It has no rule sets of its own. Break: in document.py, list the releases for every framework."""
    store = open_store(tmp_path / "calls.db")
    store.append(call("one", of_framework(name, reported, figure), MARCH_NS))
    store.close()
    with viewing(tmp_path / "calls.db") as viewer, watched(browser) as one:
        viewer.visit(one.page)
        expect(one.page.locator("tbody tr")).to_contain_text(name)
        viewer.visit(one.page, "/call?session=one")
        one.page.wait_for_selector("body[data-ready]")
        expect(one.page.locator("#facts")).to_contain_text(f"{name} 1.2.3")
        expect(one.page.locator(".turn-head")).to_have_count(1)
        expect(one.page.locator("#turn .response")).to_contain_text("1,000 ms")
        expect(one.page.locator("#rules option")).to_have_text(["turnlog"])
        one.page.get_by_role("tab", name="Spans").click()
        expect(one.page.locator("#spans")).to_contain_text("Turn #1")
