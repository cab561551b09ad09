"""The screenshots of the documentation: the viewer's pages as Chromium shows them. Run `make screenshots`.

They show the recorded calls of `fixtures/`, repeated over two days with one slow hour.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Page, expect, sync_playwright

from eventstore import Event, open_store
from turnlog.recordings import events_of, read_recordings

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "pictures"
RECORDINGS = HERE.parent / "fixtures" / "recordings.jsonl.gz"
PICTURES = {
    "viewer-sessions.png": ("light", "/"),
    "viewer-call.png": ("light", "/call?session=barge_in_vad"),
    "viewer-call-dark.png": ("dark", "/call?session=barge_in_vad"),
    "viewer-statistics.png": ("dark", "/statistics?by=llm"),
    "viewer-compare.png": ("light", "/compare?one=barge_in_vad&other_rules=videosdk-1.0"),
}
"""By file: the colour scheme, and the page that it shows."""
CALLS = 900
HOUR_NS = 3_600_000_000_000
SLOW_HOUR, HOURS = 38, 60
MARCH_NS = 1_772_323_200_000_000_000
"""2026-03-01, midnight UTC."""
WIDTH, HEIGHT = 1280, 800


def log(path: Path) -> None:
    """A log with the recorded calls, and copies of them over `HOURS` hours; the same in each run."""
    store, chance = open_store(path), random.Random(7)
    recorded = [events_of(*recording) for recording in read_recordings(RECORDINGS)]
    for n, call in enumerate(recorded):
        store.append(_copied(call, call[0].session_id, MARCH_NS + n * HOUR_NS, 1.0))
    for n in range(CALLS):
        at_ns = MARCH_NS + chance.randrange(HOURS * HOUR_NS)
        slow = 2.5 if (at_ns - MARCH_NS) // HOUR_NS == SLOW_HOUR else chance.lognormvariate(0, 0.1)
        store.append(_copied(chance.choice(recorded), f"call-{n:03}", at_ns, slow))
    store.close()


def _copied(call: list[Event], name: str, at_ns: int, slow: float) -> list[Event]:
    """The call as one that starts then and takes ``slow`` times as long."""
    wall_ns, perf_ns = call[0].wall_ns, call[0].perf_ns
    return [
        msgspec.structs.replace(
            event,
            session_id=name,
            wall_ns=at_ns + round((event.wall_ns - wall_ns) * slow),
            perf_ns=perf_ns + round((event.perf_ns - perf_ns) * slow),
        )
        for event in call
    ]


def take(page: Page, origin: str, file: str, path: str) -> None:
    page.goto(origin + path)
    expect(page).not_to_have_title(re.compile("Replaying"), timeout=120_000)
    if path.startswith("/call?"):
        page.wait_for_selector("body[data-ready]")
    page.screenshot(path=FOLDER / file)


def main() -> None:
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser_path is None:
        sys.exit("make_screenshots: no Chromium here: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        log(Path(folder) / "calls.db")
        command = [sys.executable, "-m", "turnlog", "view", "--db", "calls.db", "--no-open"]
        viewer = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert viewer.stdout is not None
        try:
            take_all(viewer.stdout.readline().strip(), browser_path)
        finally:
            viewer.terminate()
            viewer.wait()


def take_all(url: str, browser_path: str) -> None:
    parts = urlsplit(url)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for file, (scheme, path) in PICTURES.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            page.goto(url)
            take(page, f"{parts.scheme}://{parts.netloc}", file, path)
        browser.close()


if __name__ == "__main__":
    main()
