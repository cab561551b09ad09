"""The page of a call as one file, opened from disk and used as a person would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from projections.caller import read
from support.browser import LOOKS, Watched, chromium, sideways, violations
from support.call_files import data_in
from support.program import FIXTURES, Program
from support.recorded import RECORDED

CALL = "barge_in_vad"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = Program(tmp_path_factory.mktemp("call"))
    program.run("import", FIXTURES / "recordings.jsonl.gz")
    out = program.folder / "call.html"
    program.run("export", "html", CALL, "--out", out)
    return out


@contextmanager
def opened(browser: Browser, file: Path, scheme: str = "light", width: int = 1280) -> Iterator[Page]:
    """The file in the browser. Nothing may go wrong in it, and it may request nothing but itself."""
    one = Watched(browser, scheme, width)
    try:
        one.page.goto(file.as_uri())
        one.page.wait_for_selector("body[data-ready]")
        yield one.page
    finally:
        one.context.close()
    assert (one.reports, one.dialogs) == ([], [])
    assert {url.partition("#")[0] for url in one.requests} == {file.as_uri()}


@pytest.fixture
def page(browser: Browser, exported: Path) -> Iterator[Page]:
    with opened(browser, exported) as found:
        yield found


def test_the_slowest_turn_is_open_and_its_parts_add_up(page: Page) -> None:
    """Break: in call_turn.js, show ``part.ms * 2``."""
    turns = read(RECORDED[CALL]).turns
    slowest = max(turns, key=lambda turn: turn.e2e_latency or 0)
    expect(page.locator("#turn h2")).to_contain_text(f"Turn {slowest.turn}")
    expect(page.locator("#turn .response")).to_contain_text(f"{slowest.e2e_latency:,.0f} ms")
    names = page.locator(".part-table tbody th").all_inner_texts()
    assert slowest.response is not None
    assert names == [part["name"] for part in slowest.response["parts"]]
    shown = [float(re.sub(r"[^\d.]", "", text)) for text in page.locator(".part-table .figure").all_inner_texts()]
    assert sum(shown) == pytest.approx(slowest.e2e_latency, abs=len(shown) * 0.5)


def test_the_transcript_and_the_turn_are_in_step(page: Page) -> None:
    page.get_by_role("button", name="Turn 3", exact=False).first.click()
    expect(page.locator("#turn h2")).to_contain_text("Turn 3")
    expect(page.locator(".turn-head[aria-current]")).to_contain_text("Turn 3")
    page.get_by_role("button", name="Turn ›").click()
    expect(page.locator(".turn-head[aria-current]")).to_contain_text("Turn 4")
    assert "turn=4" in page.url


def test_a_click_on_the_axis_selects_the_turn_and_the_span(page: Page) -> None:
    """Break: in call_axis.js, leave out ``chosen(found.span, found.turn)``."""
    page.get_by_role("button", name="Whole call").click()
    box = page.locator("#axis").bounding_box()
    assert box is not None
    call = data_in(page.content())["readings"]["turnlog"]
    answer = next(span for span in call["spans"] if span["lane"] == "agent" and span["turn"] == 4)
    x = 88 + (answer["start"] + 0.2 + 0.02 * call["seconds"]) / (1.04 * call["seconds"]) * (box["width"] - 88)
    page.mouse.click(box["x"] + x, box["y"] + box["height"] - 14)
    expect(page.locator("#turn h2")).to_contain_text("Turn 4")
    page.get_by_role("tab", name="Spans").click()
    expect(page.locator("[data-span][aria-current]")).to_have_attribute("data-span", answer["id"])
    expect(page.locator(".attributes")).to_contain_text("Thanks, I found it.")


def test_a_figure_shows_the_events_that_made_it(page: Page) -> None:
    """Break: in file.py, leave out ``explanations``."""
    page.locator("#turn .response .figure").first.click()
    expect(page.locator("#why")).to_contain_text("on_agent_speech_start")
    expect(page.locator("#why")).to_contain_text("The first LLM run after a question")
    marked = page.locator(".event.marked .hook").all_inner_texts()
    assert "on_user_speech_end" in marked
    page.locator("#why .event-link").first.click()
    expect(page.locator("#event-details")).to_contain_text("on_agent_speech_start")


@pytest.mark.slow
def test_every_figure_is_explained(page: Page) -> None:
    for number in range(1, 5):
        page.locator(".turn-head").nth(number - 1).click()
        for path in page.locator("#turn [data-path]").evaluate_all("all => all.map(one => one.dataset.path)"):
            page.locator(f'#turn [data-path="{path}"]').first.click()
            expect(page.locator("#why h3")).to_contain_text(path)
            expect(page.locator("#message")).to_be_hidden()


def test_time_travel_shows_what_replay_at_shows(page: Page) -> None:
    """Break: in call_source.js, apply the states before ``at`` only."""
    events = RECORDED[CALL]
    for at in (5, 60, 100, 30):
        page.locator("#at").fill(str(at))
        expect(page.locator("#at-text")).to_contain_text(f"event #{at} of {len(events)}")
        turns = read(events[: at + 1]).turns
        expect(page.locator(".turn-head")).to_have_count(len(turns))
        for turn, head in zip(turns, page.locator(".turn-head").all(), strict=True):
            wait = f"{turn.e2e_latency:,.0f} ms" if turn.e2e_latency is not None else str(turn.no_response)
            expect(head).to_contain_text(wait)
    page.get_by_role("button", name="Latest").click()
    expect(page.locator(".turn-head")).to_have_count(4)


def test_zoom_and_pan_by_wheel_drag_and_keys(page: Page) -> None:
    """The range in view is what the minimap says."""

    def view() -> str | None:
        return page.locator("#minimap").get_attribute("aria-valuetext")

    axis = page.locator("#axis")
    seen = [view()]
    axis.hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("#minimap")).not_to_have_attribute("aria-valuetext", seen[-1] or "")
    seen.append(view())
    box = axis.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 400, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 60, steps=4)
    page.mouse.up()
    seen.append(view())
    axis.focus()
    for key in ("ArrowLeft", "w", "d", "-", "End", "Home", "0"):
        page.keyboard.press(key)
        seen.append(view())
    changes = [one != two for one, two in pairwise(seen)]
    assert sum(changes) >= len(changes) - 1, seen  # a pan may end where the call does
    assert seen[-1] == "0:00 to 0:21"
    for key in ("w", "w", "w"):
        page.keyboard.press(key)
    near = view()
    page.locator("#minimap").focus()
    page.keyboard.press("End")
    assert view() != near


def test_two_fingers_zoom_around_what_is_between_them(page: Page) -> None:
    """Break: in call_controls.js, ``drag``, never set ``times``."""
    box = page.locator("#axis").bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)

    def touch(kind: str, *xs: float) -> None:
        points = [{"x": box["x"] + x, "y": box["y"] + 60, "id": n} for n, x in enumerate(xs)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.keyboard.press("Escape")
    page.get_by_role("button", name="Whole call").click()
    expect(page.locator("#minimap")).to_have_attribute("aria-valuetext", "0:00 to 0:21")
    selected = page.locator("#turn h2").inner_text()
    touch("touchStart", 400, 500)
    touch("touchMove", 350, 550)
    touch("touchMove", 250, 650)
    touch("touchEnd")
    expect(page.locator("#minimap")).not_to_have_attribute("aria-valuetext", "0:00 to 0:21")
    near = page.locator("#minimap").get_attribute("aria-valuetext") or ""
    first, last = (int(text.partition(":")[2]) for text in near.split(" to "))
    assert 3 <= last - first <= 8, near
    assert page.locator("#turn h2").inner_text() == selected


def test_the_keyboard_walks_through_the_events(page: Page) -> None:
    page.locator("#events").focus()
    page.keyboard.press("End")
    expect(page.locator("#event-details")).to_contain_text("finalize_session")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#events [aria-selected=true]")).to_contain_text("#1")


def test_the_spans_are_a_tree_that_the_keyboard_opens(page: Page) -> None:
    page.get_by_role("tab", name="Events").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Spans")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Spans of Turn #2").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#spans")).to_contain_text("LLM Processing")
    page.locator("#spans .span", has_text="LLM Processing").first.click()
    expect(page.locator(".attributes")).to_contain_text("scripted-llm-1")


def test_a_second_rule_set_is_compared_in_place(page: Page) -> None:
    page.locator("#compare").select_option(index=1)
    expect(page.locator("#changes")).to_contain_text("between turnlog and videosdk-1.0")
    expect(page.locator("#changes tbody tr").first).to_contain_text("ms")
    expect(page.locator(".turn-changed").first).to_be_visible()
    page.locator("#rules").select_option(index=1)
    expect(page.locator("#turn .response")).to_contain_text("E2E latency")


def test_a_frameworks_latency_is_shown_in_its_parts(page: Page) -> None:
    """Break: in call_data.js, let ``partsOf`` return nothing for a turn without a response."""
    page.locator("#rules").select_option("videosdk-1.0")
    page.locator(".turn-head").nth(1).click()
    texts = page.locator(".part-table .figure").all_inner_texts()
    assert len(texts) > 2
    total = re.sub(r"[^\d.]", "", page.locator("#turn .response .figure").inner_text())
    assert sum(float(re.sub(r"[^\d.]", "", text)) for text in texts) == pytest.approx(float(total), abs=len(texts))
    expect(page.locator("#turn .parts span")).to_have_count(len(texts))
    for part in page.locator(".part-table .figure").all():
        part.click()
        expect(page.locator("#why")).to_contain_text(part.get_attribute("data-path") or "?")
        expect(page.locator("#why .event-link")).to_have_count(1)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_is_accessible(browser: Browser, exported: Path, scheme: str, width: int) -> None:
    with opened(browser, exported, scheme, width) as page:
        page.locator("#turn .response .figure").first.click()
        assert violations(page) == []
        assert sideways(page) <= 0
        page.get_by_role("tab", name="Spans").click()
        assert violations(page) == []
