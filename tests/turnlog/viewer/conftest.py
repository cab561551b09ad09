from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from support.browser import Viewer, chromium, viewing
from support.viewed_calls import week


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def week_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("viewer") / "week.db"
    week(path)
    return path


@pytest.fixture(scope="module")
def viewer(week_db: Path) -> Iterator[Viewer]:
    with viewing(week_db) as found:
        yield found


@pytest.fixture
def client(viewer: Viewer) -> Iterator[httpx.Client]:
    """A client with the viewer's cookie."""
    with httpx.Client(base_url=viewer.origin, timeout=60) as found:
        assert found.get(viewer.url).status_code == 303
        yield found
