"""The list of sessions, as people use it: in a browser, and over HTTP where a browser shows no more."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from eventstore import open_store
from support.browser import LOOKS, Viewer, sideways, viewing, violations, watched
from support.program import Program
from support.viewed_calls import A_DAY, BAD_HOUR, HOSTILE, hostile, week

ROWS = re.compile(r'<th scope="row" class="name"><a href="/call\?session=([^"&]+)"')


def names(client: httpx.Client, query: str, status: int = 200) -> list[str]:
    got = client.get("/", params=query)
    assert got.status_code == status
    return ROWS.findall(got.text)


def rows(page: Page) -> list[str]:
    return page.locator("tbody th").all_inner_texts()


def test_filters_are_in_the_url(client: httpx.Client) -> None:
    """Break: in viewer/listing.py, ``_turn_holds``, return True."""
    assert names(client, "") == [f"call-{n:03}" for n in range(A_DAY - 1, A_DAY - 51, -1)]
    bad = [f"call-{n:03}" for n in range(BAD_HOUR * 5, BAD_HOUR * 5 + 5)]
    assert names(client, "slower=2999&sort=started") == bad
    assert names(client, "since=2026-03-01T14:00&until=2026-03-01T15:00&sort=session") == bad
    assert names(client, "slower=1000&faster=3000&sort=started") == bad
    assert names(client, "slower=3000") == []
    assert names(client, "with=errors") == names(client, "with=no-response") == ["call-119"]
    assert names(client, "with=errors&with=interruptions") == []
    assert names(client, "text=QUESTION+17.") == ["call-017"]
    assert names(client, "version=1.4&sort=-session&slower=1") == [f"call-{n:03}" for n in range(59, 9, -1)]
    assert names(client, "unknown=1&text=question+3.") == ["call-003"]


def test_pages_and_order(client: httpx.Client) -> None:
    """Break: in viewer/sessions.py, ``ordered``, do not reverse."""
    last = names(client, "page=3")
    assert last == [f"call-{n:03}" for n in range(19, -1, -1)]
    assert names(client, "page=99") == last
    slowest = names(client, "sort=-p95")[:5]
    assert {int(name.partition("-")[2]) // 5 for name in slowest} == {BAD_HOUR}
    # a session without a value comes last, whichever way
    assert names(client, "sort=p95&page=3")[-1] == names(client, "sort=-p95&page=3")[-1] == "call-119"
    for column in (
        "session",
        "length",
        "turns",
        "p50",
        "interruptions",
        "errors",
        "unanswered",
        "framework",
        "version",
    ):
        up = [name for page in "123" for name in names(client, f"sort={column}&page={page}")]
        assert len(set(up)) == A_DAY


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("since=yesterday", "since: 'yesterday' is not a date"),
        ("slower=soon", "slower: 'soon' is not a number"),
        ("slower=nan", "slower: 'nan'"),
        ("with=luck", "with: 'luck' is unknown"),
        ("sort=colour", "sort: 'colour' is not a column"),
        ("page=0", "page: '0' is not a whole number"),
        ("page=" + "9" * 5000, "is not a whole number"),
    ],
)
def test_a_malformed_filter_is_named(client: httpx.Client, query: str, says: str) -> None:
    got = client.get("/", params=query)
    assert got.status_code == 400
    assert says.replace("'", "&#39;") in got.text
    assert "<table" not in got.text


def test_a_person_finds_the_bad_hour(browser: Browser, viewer: Viewer) -> None:
    """Break: in viewer/strip.py, link each bar to all sessions."""
    with watched(browser) as one:
        viewer.visit(one.page)
        assert "token" not in one.page.url
        slow = one.page.get_by_role("link", name="slower than usual")
        expect(slow).to_have_count(1)
        slow.click()
        expect(one.page.get_by_text("5 sessions match")).to_be_visible()
        assert rows(one.page) == [f"call-{n:03}" for n in range(74, 69, -1)]
        one.page.reload()
        assert len(rows(one.page)) == 5
        one.page.get_by_role("link", name="Clear").click()
        expect(one.page.get_by_text("120 sessions")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [True, False])
def test_a_person_filters_sorts_and_pages(browser: Browser, viewer: Viewer, scripts: bool) -> None:
    with watched(browser, scripts=scripts) as one:
        page = one.page
        viewer.visit(page)
        page.get_by_role("link", name="p95, ms").click()
        expect(page.get_by_role("columnheader", name="p95, ms")).to_have_attribute("aria-sort", "descending")
        assert "call-07" in rows(page)[0]
        page.get_by_role("link", name="p95, ms").click()
        expect(page.get_by_role("columnheader", name="p95, ms")).to_have_attribute("aria-sort", "ascending")
        page.get_by_role("link", name="Page 3").click()
        assert len(rows(page)) == 20
        page.get_by_label("Slower than, ms").fill("2000")
        page.get_by_role("button", name="Filter").click()
        assert len(rows(page)) == 5
        page.get_by_label("Slower than, ms").fill("")
        page.get_by_role("checkbox", name="errors").check()
        page.get_by_role("button", name="Filter").click()
        assert rows(page) == ["call-119"]
        assert page.get_by_role("checkbox", name="errors").is_checked()
        page.get_by_label("Said in the call").fill("nothing like it")
        page.keyboard.press("Enter")
        expect(page.get_by_text("No session matches")).to_be_visible()
        page.get_by_role("link", name="Show all sessions").click()
        page.get_by_label("Since (UTC)").fill("2026-03-01T23:30")
        page.get_by_role("button", name="Filter").click()
        assert len(rows(page)) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_is_accessible(browser: Browser, viewer: Viewer, scheme: str, width: int) -> None:
    """Break: in static/site.css, make ``--muted`` #999999."""
    with watched(browser, scheme, width) as one:
        for path in ("/", "/?with=errors&version=1.5", "/?slower=soon", "/nothing"):
            viewer.visit(one.page, path)
            assert violations(one.page) == []
            assert sideways(one.page) == 0


def test_the_keyboard_reaches_everything(browser: Browser, viewer: Viewer) -> None:
    with watched(browser) as one:
        viewer.visit(one.page)
        one.page.keyboard.press("Tab")
        expect(one.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        one.page.keyboard.press("Enter")
        one.page.keyboard.press("Tab")
        expect(one.page.get_by_label("Since (UTC)")).to_be_focused()
        bar = one.page.get_by_role("link", name="slower than usual")
        bar.focus()
        one.page.keyboard.press("Enter")
        expect(one.page.get_by_text("5 sessions match")).to_be_visible()


def test_an_empty_log_says_so(browser: Browser, tmp_path: Path) -> None:
    open_store(tmp_path / "empty.db").close()
    with viewing(tmp_path / "empty.db") as viewer, watched(browser) as one:
        viewer.visit(one.page)
        expect(one.page.get_by_text("The log has no sessions yet")).to_be_visible()
        assert violations(one.page) == []


@pytest.mark.slow
def test_an_archive_is_shown_as_its_log_is(browser: Browser, tmp_path: Path) -> None:
    """Break: in cli/commands/serve.py, ``view``, open the log whatever --archive says."""
    program = Program(tmp_path)
    week(program.db)
    program.run("archive", "build", "--to", tmp_path / "archive")
    program.db.unlink()
    with viewing(program.db, "--archive", str(tmp_path / "archive")) as viewer, watched(browser) as one:
        viewer.visit(one.page, "/?slower=2000")
        expect(one.page.get_by_text("5 sessions match")).to_be_visible()
        viewer.visit(one.page, "/?text=question+17.")
        assert rows(one.page) == ["call-017"]
        one.page.get_by_role("link", name="call-017").click()
        expect(one.page.get_by_text("Question 17.").first).to_be_visible()


@pytest.mark.slow
def test_hostile_text_is_text(browser: Browser, tmp_path: Path) -> None:
    """Break: in viewer/pages.py, turn ``autoescape`` off; or leave ``finalize`` out."""
    hostile(tmp_path / "hostile.db")
    with viewing(tmp_path / "hostile.db") as viewer, watched(browser, width=360) as one:
        viewer.visit(one.page)
        shown = "\n".join(rows(one.page))
        for text in HOSTILE.values():
            escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
            assert escaped in shown
        assert one.page.locator("tbody img, tbody script, tbody svg").count() == 0
        assert one.page.get_by_text("cannot be read").count() == 1
        assert sideways(one.page) == 0
        for field, text in (("Said in the call", HOSTILE["markup"]), ("Said in the call", HOSTILE["quotes"])):
            one.page.get_by_label(field).fill(text)
            one.page.get_by_role("button", name="Filter").click()
            assert one.page.get_by_label(field).input_value() == text
            assert len(rows(one.page)) == 1
        viewer.visit(one.page, f"/?{httpx.QueryParams({'version': HOSTILE['markup']})}")
        assert rows(one.page) == [HOSTILE["markup"]]
