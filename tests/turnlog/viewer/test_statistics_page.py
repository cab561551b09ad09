"""The page of statistics: its figures are those of `turnlog stats`, and each bar leads to its calls."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import orjson
import pytest
from playwright.sync_api import Browser, expect

from eventstore import open_store
from support.browser import LOOKS, Viewer, sideways, viewing, violations, watched
from support.program import FIXTURES, Program
from support.viewed_calls import BAD_HOUR
from turnlog.stats.figures import format_value


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Program:
    program = Program(tmp_path_factory.mktemp("statistics"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    return program


@pytest.mark.parametrize(
    ("measure", "rules"), [("response", "turnlog"), ("llm_ttft", "turnlog"), ("e2e", "videosdk-1.0")]
)
def test_the_figures_are_those_of_the_command_line(recorded: Program, measure: str, rules: str) -> None:
    """Break: in viewer/statistics.py, ``_figures``, take all turns."""
    groups = orjson.loads(recorded.run("stats", "--by", "llm", "--rules", rules, "--json").stdout)["groups"]
    with viewing(recorded.db) as viewer, httpx.Client(base_url=viewer.origin, timeout=60) as client:
        client.get(viewer.url)
        page = client.get("/statistics", params={"by": "llm", "measure": measure, "rules": rules}).text
    shown = {}
    for row in re.findall(r"<tr>\s*<th scope=\"row\".*?</tr>", page, re.DOTALL):
        cells = [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        shown[cells[0].replace("(none)", "")] = cells[1:4]
    expected = {}
    for group in groups:
        spread = group["measures"].get(measure, {})
        cells = [str(spread.get("count", 0)), *(format_value(spread.get(name), "") for name in ("p50", "p95"))]
        expected[group["group"]] = cells
    assert len(shown) > 3
    assert shown == expected


def test_from_a_bar_to_its_calls(browser: Browser, viewer: Viewer) -> None:
    """Break: in viewer/charts.py, ``histogram``, leave ``faster`` out of the link."""
    with watched(browser) as one:
        page = one.page
        viewer.visit(page)
        page.get_by_role("link", name="Statistics").click()
        distribution = page.get_by_label("Distribution of response")
        counts = {}
        for bar in distribution.get_by_role("link").all():
            counts[bar.get_attribute("aria-label") or ""] = bar
        assert [name.partition(": ")[2] for name in counts] == ["114 turns", "5 turns"]
        next(iter(counts.values())).click()
        expect(page.get_by_text("114 sessions match")).to_be_visible()
        page.go_back()
        distribution.get_by_role("link").last.click()
        expect(page.get_by_text("5 sessions match")).to_be_visible()
        page.go_back()
        page.get_by_label("response over time").get_by_role("link", name="slower than usual").click()
        expect(page.get_by_text("5 sessions match")).to_be_visible()
        assert page.locator("tbody th").first.inner_text() == f"call-{BAD_HOUR * 5 + 4:03}"


def test_a_person_groups_and_goes_to_a_group(browser: Browser, viewer: Viewer) -> None:
    """Break: in viewer/statistics.py, ``_url``, leave out the group."""
    with watched(browser) as one:
        page = one.page
        viewer.visit(page, "/statistics")
        page.get_by_label("By", exact=True).select_option("version")
        page.get_by_role("button", name="Filter").click()
        assert page.locator("tbody th").all_inner_texts() == ["1.4", "1.5", "(none)"]
        page.get_by_role("link", name="1.5").click()
        expect(page.get_by_text("59 sessions match")).to_be_visible()
        page.get_by_role("link", name="Remove the filter version: 1.5").click()
        expect(page.get_by_text("120 sessions")).to_be_visible()
        viewer.visit(page, "/statistics?by=day&version=1.4")
        page.get_by_role("link", name="2026-03-01", exact=True).click()
        expect(page.get_by_text("60 sessions match")).to_be_visible()
        viewer.visit(page, "/statistics")
        page.get_by_label("Measure").select_option("realtime")
        page.get_by_role("checkbox", name="errors").check()
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_text("No turn has a value of realtime")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("measure=luck", "measure: 'luck' is unknown"),
        ("by=session", "by: 'session' is unknown"),
        ("rules=x", "rules: 'x'"),
    ],
)
def test_a_malformed_parameter_is_named(client: httpx.Client, query: str, says: str) -> None:
    got = client.get(f"/statistics?{query}")
    assert got.status_code == 400
    assert says.replace("'", "&#39;") in got.text


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_is_accessible(browser: Browser, viewer: Viewer, scheme: str, width: int) -> None:
    with watched(browser, scheme, width) as one:
        for path in ("/statistics", "/statistics?measure=luck"):
            viewer.visit(one.page, path)
            assert violations(one.page) == []
            assert sideways(one.page) == 0


def test_an_empty_log_says_so(browser: Browser, tmp_path: Path) -> None:
    open_store(tmp_path / "empty.db").close()
    with viewing(tmp_path / "empty.db") as viewer, watched(browser) as one:
        viewer.visit(one.page, "/statistics")
        expect(one.page.get_by_text("The log has no turns yet")).to_be_visible()
