"""A log that is replayed for the first time: the page shows how far it is, and then the calls."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from eventstore import open_store
from support.browser import viewing, watched
from support.known_calls import MARCH_NS
from support.viewed_calls import answered, call

pytestmark = pytest.mark.slow

CALLS = 1500
"""A few more events than are replayed before a page is answered."""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "large.db")
    store.append([event for n in range(CALLS) for event in call(f"call-{n:04}", answered(), MARCH_NS + n * 10**9)])
    store.close()
    return tmp_path / "large.db"


@pytest.mark.parametrize("stored", [True, False])
def test_the_calls_appear_when_it_is_done(browser: Browser, large: Path, tmp_path: Path, stored: bool) -> None:
    """Also where rows cannot be stored. Break: in viewer/log.py, ``_take_over``, drop what was read."""
    if not stored:
        with sqlite3.connect(large) as connection:
            refuse = "CREATE TRIGGER full BEFORE INSERT ON session_rows BEGIN SELECT RAISE(ABORT, 'full'); END"
            connection.execute(refuse)
    with viewing(large, "--jobs", "1", XDG_CACHE_HOME=str(tmp_path)) as viewer, watched(browser) as one:
        viewer.visit(one.page)
        expect(one.page.get_by_role("progressbar", name="Events replayed")).to_be_visible()
        expect(one.page.get_by_text(f"{CALLS:,} sessions, 1 to 50 shown")).to_be_visible(timeout=120_000)
        viewer.visit(one.page, "/statistics?by=version")
        expect(one.page.get_by_role("link", name="1.4")).to_be_visible()


def test_it_ends_while_it_replays(large: Path) -> None:
    """Break: in viewer/log.py, ``_advance``, ignore ``_stopping``."""
    with viewing(large, "--jobs", "2") as viewer, httpx.Client(base_url=viewer.origin, timeout=60) as client:
        client.get(viewer.url)
        assert client.get("/").status_code == 503
