"""``turnlog view`` as a process, and a browser that looks at it and notices what no page may do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LOOKS = [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)]
"""Colour scheme and width, in pixels."""


class Viewer:
    """A running ``turnlog view``."""

    def __init__(self, db: Path | str, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "turnlog", "view", "--db", str(db), "--no-open", *arguments]
        clean = {k: v for k, v in os.environ.items() if k not in ("TURNLOG_DB", "TURNLOG_MASTER_KEY")}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean | environment
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        """The printed URL, with the token."""
        if not self.url:
            raise AssertionError(self.process.communicate()[1])
        parts = urlsplit(self.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"

    def visit(self, page: Page, path: str = "/") -> None:
        """Open a page, with the printed URL first, as a person would."""
        page.goto(self.url)
        if path != "/":
            page.goto(self.origin + path)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what was written to standard error."""
        self.process.send_signal(number)
        _out, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@contextmanager
def viewing(db: Path | str, *arguments: str, **environment: str) -> Iterator[Viewer]:
    """A viewer that ends cleanly, without a traceback."""
    viewer = Viewer(db, *arguments, **environment)
    try:
        yield viewer
    finally:
        code, err = viewer.end()
    assert code == 0, err
    assert "Traceback" not in err, err


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium. Skips the test where there is none, but fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


class Watched:
    """A page in the browser; what it requests and reports is kept."""

    def __init__(self, browser: Browser, scheme: str = "light", width: int = 1280, *, scripts: bool = True) -> None:
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}, java_script_enabled=scripts
        )
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.reports: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._report)
        self.page.on("pageerror", lambda error: self.reports.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def _report(self, message: ConsoleMessage) -> None:
        # a page that says what is wrong has a status that says so too, which Chromium reports
        if message.type == "error" and "the server responded with a status of" not in message.text:
            self.reports.append(message.text)

    def close(self) -> None:
        """Close the page. Nothing may have gone wrong in it, and no request may have left the machine."""
        self.context.close()
        foreign = [url for url in self.requests if not local(url)]
        wrong = [*self.reports, *self.dialogs, *foreign]
        assert not wrong, wrong


def local(url: str) -> bool:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return parts.scheme in ("data", "blob") or (parts.scheme == "http" and host in LOOPBACK)


@contextmanager
def watched(browser: Browser, scheme: str = "light", width: int = 1280, *, scripts: bool = True) -> Iterator[Watched]:
    one = Watched(browser, scheme, width, scripts=scripts)
    try:
        yield one
    except BaseException:
        one.context.close()
        raise
    one.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical: rule, help and elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def sideways(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
