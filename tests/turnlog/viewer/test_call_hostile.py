"""Sessions that mean harm, or are broken, on the page of a call: everything in them shows as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from eventstore import open_store
from support.browser import Viewer, Watched, sideways, viewing
from support.viewed_calls import HOSTILE, hostile
from turnlog.viewer.call.file import html_file
from turnlog.viewer.pages import call_url

ESCAPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What the page writes as escapes."""


def shown(text: str) -> str:
    return ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "calls.db"
    hostile(path)
    return path


@pytest.fixture(scope="module")
def served(log: Path) -> Iterator[Viewer]:
    with viewing(log) as found:
        yield found


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_text(browser: Browser, served: Viewer, text: str) -> None:
    """Break: in call_dom.js, set ``innerHTML`` for a child that is text."""
    one = Watched(browser)
    page = one.page
    served.visit(page, call_url(text))
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#turns .said.user")).to_contain_text(shown(text), use_inner_text=True)
    page.locator("#turn .response .figure").first.click()
    page.locator("#turn [data-path]").last.click()
    expect(page.locator("#why h3")).to_be_visible()
    page.locator(".event", has_text="on_stt_complete").first.click()
    expect(page.locator("#event-details pre")).to_contain_text("transcript")
    page.get_by_role("tab", name="Spans").click()
    page.locator(".toggle[aria-expanded=false]").first.click()
    page.locator(".span", has_text="Speech").first.click()
    expect(page.locator(".attributes")).to_be_visible()
    assert page.locator("main img, main svg, main script").count() == 0
    one.close()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_text_in_a_file(browser: Browser, log: Path, tmp_path: Path, text: str) -> None:
    store = open_store(log)
    file = tmp_path / "call.html"
    file.write_bytes(html_file(list(store.read(text))))
    store.close()
    one = Watched(browser)
    one.page.goto(file.as_uri())
    one.page.wait_for_selector("body[data-ready]")
    expect(one.page.locator("#turns .said.user")).to_contain_text(shown(text), use_inner_text=True)
    one.context.close()
    assert (one.reports, one.dialogs) == ([], [])


@pytest.mark.parametrize(
    ("session", "turns", "line"),
    [
        ("megabyte", 1, "(999,999 characters)"),
        ("no turns", 0, "No turns."),
        ("one event", 1, "still open"),
        ("killed", 1, "still open"),
    ],
)
def test_what_is_large_empty_or_cut_off_is_shown(
    browser: Browser, served: Viewer, session: str, turns: int, line: str
) -> None:
    for width in (1280, 360):
        one = Watched(browser, width=width)
        served.visit(one.page, call_url(session))
        one.page.wait_for_selector("body[data-ready]")
        expect(one.page.locator(".turn-head")).to_have_count(turns)
        expect(one.page.locator("#turns")).to_contain_text(line)
        assert sideways(one.page) <= 0
        one.close()


def test_a_session_that_cannot_be_replayed_says_so(browser: Browser, served: Viewer) -> None:
    one = Watched(browser)
    served.visit(one.page, call_url("unreadable"))
    expect(one.page.locator("#message")).to_contain_text("cannot be replayed")
    one.close()
