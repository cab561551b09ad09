"""Compare with the published reference itself, on calls that nobody has seen.

``python differential.py [SESSIONS] [SEED]``; without a seed, a fresh one, which is printed.

`generate.py` makes hook calls from a seed, `reference.py` drives the reference with them in an environment of its own
(``.venv-reference``, made here), and turnlog has to make the same of them. Exits 0 with a message if the reference
cannot be installed here.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import venv
from itertools import islice
from pathlib import Path

import orjson
import wide
from rich.progress import track

from turnlog.conformance import run
from turnlog.recordings import Recording

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / ".venv-reference"
REFERENCE = "videosdk-agents==1.0.2"
NEEDS = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "aiohttp", "orjson"]
SHOWN = 20


def reference_python() -> Path | None:
    """The interpreter that has the reference; None if it cannot be installed."""
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "ready"
    if ready.exists():
        return python
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (["--no-deps", REFERENCE], NEEDS):
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr.strip()[-2000:], file=sys.stderr)
            return None
    ready.touch()
    return python


def corpus(python: Path, seed: str, sessions: int) -> list[Recording]:
    """Fresh calls with what the reference made of them; a third of the sessions from `wide`.

    The calls are the generator's own, not those the driver writes back: the reference changes some in place.
    """
    command = [sys.executable, HERE / "generate.py", seed, str(sessions - sessions // 3)]
    generated = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    for n in range(sessions // 3):
        name = f"{seed}-{n:05d}-wide"
        generated.append(orjson.dumps({"name": name, "calls": wide.calls(name)}))
    driven = subprocess.run(
        [python, HERE / "reference.py"], input=b"\n".join(generated) + b"\n", capture_output=True, check=True
    ).stdout
    answers = [line for line in driven.splitlines() if line.startswith(b"{")]  # the reference prints its errors, too
    return [
        Recording.model_validate(orjson.loads(line) | {"expect": orjson.loads(answer)["expect"]})
        for line, answer in zip(generated, answers, strict=True)
    ]


def main() -> int:
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    python = reference_python()
    if python is None:
        print(f"SKIPPED the comparison with the reference: {REFERENCE} could not be installed here")
        return 0
    recordings = corpus(python, seed, sessions)
    calls = mismatches = restored = 0
    results = run(((f"seed {seed}", recording) for recording in recordings), fast=False)
    for result in track(results, "comparing", len(recordings), disable=not sys.stdout.isatty()):
        calls += result.calls
        restored += result.restored_scores
        for line in islice(result.mismatches, max(0, SHOWN - mismatches)):
            print(line)
        mismatches += len(result.mismatches)
    assert restored == 0, "the generator's calls are whole"
    print(f"reference {REFERENCE}, seed {seed}: {len(recordings)} sessions, {calls} calls, {mismatches} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
