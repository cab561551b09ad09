"""The page of a call: server time, load and frame times in headless Chromium, for 30 turns and for an hour of an agent.

Run it alone: ``python benchmarks/call_page.py``; it needs Chromium and the extra `view`. The hour, of 40,000 events,
is a recorded call, repeated and sped up.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Page, sync_playwright

from eventstore import Event, open_store
from turnlog.recordings import events_of, read_recordings
from turnlog.viewer.call.document import call_document

FIXTURE = Path(__file__).parents[1] / "fixtures" / "recordings.jsonl.gz"
THIRTY, HOUR, EVENTS, SECONDS = "soak_seed4", "hour", 40_000, 3600
SETUP = 22
"""Number of events before the first turn of the recorded call."""
FRAMES = """async (steps) => {
  const axis = document.getElementById("axis"), box = axis.getBoundingClientRect(), times = [];
  const place = { clientX: box.left + box.width / 2, clientY: box.top + 50, bubbles: true, cancelable: true };
  for (const [deltaX, deltaY] of steps) {
    const before = performance.now();
    axis.dispatchEvent(new WheelEvent("wheel", { deltaX, deltaY, ...place }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    times.push(performance.now() - before);
  }
  times.sort((a, b) => a - b);
  return { p50: times[times.length >> 1], p95: times[Math.floor(times.length * 0.95)] };
}"""
MOVES = {
    "pan the whole call": ("0", 0, [[30, 0], [-30, 0]] * 60),
    "zoom in and out": ("0", 0, [[0, -100]] * 20 + [[0, 100]] * 20),
    "pan a minute": ("0", 8, [[40, 0]] * 120),
    "pan ten seconds": ("0", 12, [[40, 0]] * 120),
}
"""Key to begin with, number of times to zoom in, and the turns of the wheel."""


def hour(call: list[Event]) -> list[Event]:
    """The call again and again, without its setup, until there are `EVENTS`, in `SECONDS`."""
    body = [event for event in call[SETUP:] if event.hook != "finalize_session"]
    rounds = -(-EVENTS // len(body))
    begun, length = call[SETUP].perf_ns, call[-1].perf_ns - call[SETUP].perf_ns
    speed = SECONDS * 1e9 / (rounds * length)
    repeated = [(event, n) for n in range(rounds) for event in body][: EVENTS - SETUP - 1]
    found = [*call[:SETUP]]
    for event, n in [*repeated, (call[-1], rounds - 1)]:
        at = round((event.perf_ns - begun + n * length) * speed)
        found.append(msgspec.structs.replace(event, perf_ns=begun + at, wall_ns=call[SETUP].wall_ns + at))
    return [msgspec.structs.replace(event, session_id=HOUR, seq=seq) for seq, event in enumerate(found)]


def measure(page: Page, url: str) -> dict[str, object]:
    """Load and frame times of the page, in milliseconds; CPU is that of the page's main thread, by frame."""
    began = time.perf_counter()
    page.goto(url)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    found: dict[str, object] = {"load_ms": round((time.perf_counter() - began) * 1000)}
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cpu() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    for name, (key, zooms, steps) in MOVES.items():
        page.locator("#axis").focus()
        page.keyboard.press(key)
        for _ in range(zooms):
            page.click("#zoom-in")
        before = cpu()
        times = page.evaluate(FRAMES, steps)
        found[name] = {k: round(v, 1) for k, v in times.items()} | {
            "cpu": round((cpu() - before) * 1000 / len(steps), 1)
        }
    return found


def main() -> None:
    call = next(events_of(*each) for each in read_recordings(FIXTURE) if each[1].name == THIRTY)
    calls = {THIRTY: call, HOUR: hour(call)}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "calls.db")
        for events in calls.values():
            store.append(events)
        store.close()
        command = [sys.executable, "-m", "turnlog", "view", "--db", str(Path(folder) / "calls.db"), "--no-open"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as viewer, sync_playwright() as playwright:
            assert viewer.stdout is not None
            url = viewer.stdout.readline().strip()
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(url)
            for name, events in calls.items():
                before = time.process_time()
                document = call_document(events)
                used = round((time.process_time() - before) * 1000)
                sizes = {"events": len(events), "turns": len(document["turns"]), "spans": len(document["spans"])}
                address = urlsplit(url)._replace(path=f"/call/{name}", query="").geturl()
                print(name, json.dumps(sizes | {"document_cpu_ms": used} | measure(page, address), indent=2))
            browser.close()
            viewer.terminate()


if __name__ == "__main__":
    main()
