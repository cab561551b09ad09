"""Compare with the published reference itself, on fresh calls.

``python differential.py [SESSIONS] [SEED] [--release 1.0.24]``; without a seed, a fresh one, which is printed. A
release is compared with the rule set of its name.

`generate.py` makes hook calls from a seed, `reference.py` drives the reference with them in an environment of its own
(``.venv-reference``, made here), and turnlog has to make the same of them. Exits 0 with a message if the reference
cannot be installed here.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import venv
from itertools import islice
from pathlib import Path

import orjson
import wide
from rich.progress import track

from projections.reference.rules import VIDEOSDK_1_0
from turnlog.conformance import check_conformance
from turnlog.recordings import Recording

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / ".venv-reference"
PACKAGE = "videosdk-agents"
RELEASE = "1.0.2"
REFERENCE = f"{PACKAGE}=={RELEASE}"
NEEDS = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "aiohttp", "orjson"]
SHOWN = 20


def reference_python() -> Path | None:
    """The interpreter that has the reference; None if it cannot be installed."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "ready"
    if ready.exists():
        return python
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    for packages in (["--no-deps", REFERENCE], NEEDS):
        if not _pip(python, *packages):
            return None
    ready.touch()
    return python


def _pip(python: Path, *packages: str | Path) -> bool:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr.strip()[-2000:], file=sys.stderr)
    return done.returncode == 0


def later_release(python: Path, release: str) -> Path | None:
    """The folder with a later release, which hides the one of the environment; None if it cannot be installed."""
    folder = ENVIRONMENT / "releases" / release
    if folder.is_dir() or _pip(python, "--no-deps", "--target", folder, f"{PACKAGE}=={release}"):
        return folder
    return None


def corpus(python: Path, seed: str, sessions: int, folder: Path | None = None) -> list[Recording]:
    """Fresh calls with what the reference made of them; a third of the sessions from `wide`.

    The calls are the generator's own, not those the driver writes back: the reference changes some in place. ``folder``
    has the release, if it is a later one.
    """
    command = [sys.executable, HERE / "generate.py", seed, str(sessions - sessions // 3)]
    generated = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    for n in range(sessions // 3):
        name = f"{seed}-{n:05d}-wide"
        generated.append(orjson.dumps({"name": name, "calls": wide.calls(name)}))
    environment = os.environ | ({"PYTHONPATH": str(folder)} if folder is not None else {})
    command = [python, HERE / "reference.py"]
    calls = b"\n".join(generated) + b"\n"
    driven = subprocess.run(command, input=calls, capture_output=True, check=True, env=environment).stdout
    answers = [line for line in driven.splitlines() if line.startswith(b"{")]  # the reference prints its errors, too
    return [
        Recording.model_validate(orjson.loads(line) | {"expect": orjson.loads(answer)["expect"]})
        for line, answer in zip(generated, answers, strict=True)
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("sessions", nargs="?", type=int, default=300)
    options.add_argument("seed", nargs="?", default=secrets.token_hex(4))
    options.add_argument("--release", default=RELEASE)
    given = options.parse_args()
    release, seed = f"{PACKAGE}=={given.release}", given.seed
    python, folder = reference_python(), None
    if python is not None and given.release != RELEASE:
        folder = later_release(python, given.release)
    if python is None or (folder is None and given.release != RELEASE):
        print(f"SKIPPED the comparison with the reference: {release} could not be installed here")
        return 0
    rules = VIDEOSDK_1_0.name if folder is None else f"videosdk-{given.release}"
    recordings = corpus(python, seed, given.sessions, folder)
    calls = mismatches = 0
    results = check_conformance(((f"seed {seed}", recording) for recording in recordings), fast=False, rules=rules)
    for result in track(results, "comparing", len(recordings), disable=not sys.stdout.isatty()):
        calls += result.calls
        for line in islice(result.mismatches, max(0, SHOWN - mismatches)):
            print(line)
        mismatches += len(result.mismatches)
    print(f"reference {release}, seed {seed}: {len(recordings)} sessions, {calls} calls, {mismatches} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
