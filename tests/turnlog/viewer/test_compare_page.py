"""The page that compares calls: what differs is shown where it differs, and leads to the turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from eventstore import open_store
from support.browser import LOOKS, Viewer, sideways, viewing, violations, watched
from support.known_calls import MARCH_NS
from support.viewed_calls import HOSTILE, answered, call, hostile


@pytest.fixture(scope="module")
def two_calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A call; the same one answered in three times the time; and one with a second question."""
    path = tmp_path_factory.mktemp("compare") / "calls.db"
    store = open_store(path)
    second = [(at + 10_000, hook, args) for at, hook, args in answered("And now?", "Now too.")[1:]]
    store.append(call("before", answered(), MARCH_NS))
    store.append(call("after", answered(answer="Good morning."), MARCH_NS, 3.0))
    store.append(call("longer", [*answered()[:-1], *second], MARCH_NS))
    store.close()
    with viewing(path) as found:
        yield found


def test_two_calls_turn_by_turn(browser: Browser, two_calls: Viewer) -> None:
    """Break: in viewer/comparison.py, ``change``, subtract the other way round."""
    with watched(browser) as one:
        page = one.page
        two_calls.visit(page, "/compare")
        page.get_by_label("First call").fill("before")
        page.get_by_label("Second call").fill("after")
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_text("1 of 1 turn differs")).to_be_visible()
        cells = page.locator(".pairs tbody td").all_inner_texts()
        assert cells[1:4] == ["1,000", "3,000", "+2,000"]
        assert "what the agent said" in cells[4]
        assert "what the user said" not in cells[4]
        assert "llm_ttft: 300 ms → 900 ms" in cells[4]
        assert "Agent, first Good day." in cells[0]
        assert "Agent, second Good morning." in cells[0]
        assert "User Hi." in cells[0]
        page.get_by_role("link", name="Turn 1 of the second").click()
        assert page.url.startswith(f"{two_calls.origin}/call?session=after&turn=1")


def test_a_turn_without_a_counterpart(browser: Browser, two_calls: Viewer) -> None:
    with watched(browser) as one:
        two_calls.visit(one.page, "/compare?one=before&other=longer")
        assert one.page.locator(".pairs tbody tr").count() == 2
        expect(one.page.get_by_text("only in the second")).to_be_visible()
        expect(one.page.get_by_text("1 of 2 turns differs")).to_be_visible()


def test_one_call_under_two_rule_sets(browser: Browser, two_calls: Viewer) -> None:
    with watched(browser) as one:
        page = one.page
        two_calls.visit(page, "/compare?one=before")
        expect(page.get_by_text("0 of 1 turn differ")).to_be_visible()
        expect(page.get_by_text("nothing", exact=True)).to_be_visible()
        page.get_by_label("Rule set of the second").select_option("videosdk-1.0")
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_text("1 of 1 turn differs")).to_be_visible()
        assert page.locator(".sides tbody td").first.inner_text() == "turnlog"
        page.get_by_role("link", name="before").nth(1).click()
        assert page.url.endswith("/call?session=before&rules=videosdk-1.0")


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("one=befor", 404, "did you mean 'before'?"),
        ("one=before&other=none", 404, "unknown session 'none'"),
        ("one=before&rules=x", 400, "rules: 'x' is unknown"),
    ],
)
def test_what_cannot_be_compared_is_named(two_calls: Viewer, query: str, status: int, says: str) -> None:
    with httpx.Client(base_url=two_calls.origin, timeout=60) as client:
        client.get(two_calls.url)
        got = client.get(f"/compare?{query}")
    assert got.status_code == status
    assert says.replace("'", "&#39;") in got.text


@pytest.mark.parametrize("scripts", [True, False])
def test_two_calls_of_the_list_are_compared(browser: Browser, two_calls: Viewer, *, scripts: bool) -> None:
    """Break: in sessions.html, leave out the ``form`` of the boxes."""
    with watched(browser, scripts=scripts) as one:
        two_calls.visit(one.page)
        for name in ("Compare before", "Compare after"):
            one.page.get_by_role("checkbox", name=name, exact=True).focus()
            one.page.keyboard.press("Space")
        one.page.get_by_role("button", name="Compare two selected calls").press("Enter")
        expect(one.page.get_by_role("heading", name="Turn by turn")).to_be_visible()
        expect(one.page.locator(".sides tbody th")).to_have_count(2)
        assert sorted(one.page.locator(".sides tbody th").all_inner_texts()) == ["after", "before"]
        two_calls.visit(one.page, "/compare?one=a&one=b&one=c")
        expect(one.page.get_by_text("3 calls are selected; select two")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_is_accessible(browser: Browser, two_calls: Viewer, scheme: str, width: int) -> None:
    with watched(browser, scheme, width) as one:
        for path in ("/compare", "/compare?one=before&other=after", "/compare?one=none"):
            two_calls.visit(one.page, path)
            assert violations(one.page) == []
            assert sideways(one.page) == 0


@pytest.mark.slow
def test_hostile_and_broken_calls(browser: Browser, tmp_path: Path) -> None:
    hostile(tmp_path / "hostile.db")
    with viewing(tmp_path / "hostile.db") as viewer, watched(browser) as one:
        page = one.page
        for text in (HOSTILE["markup"], HOSTILE["template"], HOSTILE["quotes"]):
            viewer.visit(page, f"/compare?{httpx.QueryParams({'one': text, 'other': 'megabyte'})}")
            assert page.locator(".sides tbody th").first.inner_text() == text
            assert page.get_by_label("First call").input_value() == text
            assert page.locator("main img, main script").count() == 0
            assert f"User, first {text}" in page.locator(".pairs td").first.inner_text()
        expect(page.get_by_text("99,999 characters)").first).to_be_visible()
        for name in ("no turns", "one event", "killed"):
            viewer.visit(page, f"/compare?one={name}")
            expect(page.get_by_role("heading", name="Turn by turn")).to_be_visible()
        viewer.visit(page, "/compare?one=unreadable")
        expect(page.get_by_role("heading", name="This session cannot be read")).to_be_visible()
