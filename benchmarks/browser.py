"""Pages in headless Chromium: how soon one is usable, and what a frame of it costs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import psutil
from playwright.sync_api import BrowserContext, CDPSession, Page, sync_playwright

ROUNDS = 3
WAIT_MS = 120_000
PREPARE = """
window.longTasks = [];
new PerformanceObserver((list) => list.getEntries().forEach((task) => longTasks.push(task.duration)))
  .observe({ type: "longtask", buffered: true });
window.usable = new Promise((done) => (window.isUsable = done));
window.awaitUsable = (selector) => {
  const look = () =>
    requestAnimationFrame(document.querySelector(selector) ? () => isUsable(performance.now()) : look);
  look();
};
"""
"""Runs before the page's own scripts."""
WAITED = """() => {
  const requests = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((entry) => ["navigation", "fetch", "xmlhttprequest"].includes(entry.initiatorType))
    .map((entry) => [entry.requestStart, entry.responseEnd])
    .sort((a, b) => a[0] - b[0]);
  let waited = 0, until = 0;
  for (const [start, end] of requests) {
    waited += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return waited;
}"""
"""Milliseconds in which at least one request for the page or its data was under way."""
STEP = """async ([deltaX, deltaY]) => {
  const axis = document.getElementById("axis"), box = axis.getBoundingClientRect();
  const place = { clientX: box.left + box.width / 2, clientY: box.top + 50, bubbles: true, cancelable: true };
  const before = performance.now();
  axis.dispatchEvent(new WheelEvent("wheel", { deltaX, deltaY, ...place }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
  return performance.now() - before;
}"""
MOVES = {
    "panning over the whole call": (0, [(30, 0), (-30, 0)] * 40),
    "panning, a minute in view": (8, [(40, 0)] * 80),
    "panning, ten seconds in view": (12, [(40, 0)] * 80),
    "zooming in and out": (0, [(0, -100)] * 20 + [(0, 100)] * 20),
}
"""Number of times to zoom in first, and the turns of the wheel."""


class Load(NamedTuple):
    """A page, from the start of its navigation until it was usable; in milliseconds, the median of `ROUNDS`."""

    server_processor: float
    server_wait: float
    """The time in which the page waited for an answer of the server."""
    usable: float
    main_thread: float
    """Processor time of the page's main thread."""
    long_tasks: float
    """Sum of its tasks of more than 50 ms."""


class Frames(NamedTuple):
    """Milliseconds of a frame: processor time of the page's main thread, and from the input to the next frame."""

    p50: float
    p95: float
    elapsed_p50: float
    elapsed_p95: float


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        context = browser.new_context(viewport={"width": 1440, "height": 1000})
        context.add_init_script(PREPARE)
        yield context
        browser.close()


def load(context: BrowserContext, pid: int, url: str, ready: str) -> Load:
    """Open the page in tabs of one browser, whose caches are warm; ``ready``: the selector of what makes it usable."""
    rounds = [_load(context, psutil.Process(pid), url, ready) for _ in range(1 + ROUNDS)][1:]
    middle = [median(values) for values in zip(*rounds, strict=True)]
    # a process's time has ticks of 10 ms, so the mean says more
    return Load._make(middle)._replace(server_processor=sum(each.server_processor for each in rounds) / ROUNDS)


def _load(context: BrowserContext, server: psutil.Process, url: str, ready: str) -> Load:
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    session = _metrics(page)
    before = _processor(server)
    page.goto(url, wait_until="commit")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate("(selector) => awaitUsable(selector)", ready)
    usable = page.evaluate("usable")
    found = Load(
        (_processor(server) - before) * 1000,
        page.evaluate(WAITED),
        usable,
        _main_thread_ms(session),
        sum(page.evaluate("longTasks")),
    )
    page.close()
    return found


def frames(context: BrowserContext, url: str, ready: str) -> dict[str, Frames]:
    """The frames of each of `MOVES` on the page of a call."""
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(ready, timeout=WAIT_MS)
    session, found = _metrics(page), {}
    for name, (zooms, steps) in MOVES.items():
        page.click("#whole")
        for _ in range(zooms):
            page.click("#zoom-in")
        for step in steps[:10]:
            page.evaluate(STEP, step)
        processor, elapsed = [], []
        for step in steps:
            before = _main_thread_ms(session)
            elapsed.append(page.evaluate(STEP, step))
            processor.append(_main_thread_ms(session) - before)
        found[name] = Frames(*_middle_and_slow(processor), *_middle_and_slow(elapsed))
    page.close()
    return found


def _metrics(page: Page) -> CDPSession:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return session


def _main_thread_ms(session: CDPSession) -> float:
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")) * 1000


def _processor(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _middle_and_slow(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
