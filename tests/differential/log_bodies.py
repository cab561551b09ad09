"""Do our `JobLogger` and `LogManager` post what the reference's post? Both get the same log calls, made from a seed.

``python log_bodies.py [JOBS] [SEED]``; exits 1 on a mismatch, and 0 with a message if the reference cannot be had here.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections import defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import log_calls

from differential import REFERENCE, SHOWN, reference_python
from exporters.reference import job_logger as job_logs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.http_receiver import Receiver

TRANSPORT = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length"}
"""Headers of the HTTP library, not of the log handler."""


def posted(endpoint: Receiver) -> dict[str, list[Any]]:
    """What each job posted, by its path: headers and body."""
    found = defaultdict(list)
    for request in endpoint.requests:
        headers = {name: value for name, value in request.headers.items() if name not in TRANSPORT}
        found[request.path].append({"headers": headers, "body": request.json()})
    return found


def main() -> int:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = sys.argv[2] if len(sys.argv) > 2 else secrets.token_hex(4)
    python = reference_python()
    if python is None:
        print(f"SKIPPED the comparison of log bodies: {REFERENCE} could not be installed here")
        return 0
    with Receiver() as theirs, Receiver() as ours:
        subprocess.run([python, log_calls.__file__, theirs.url, seed, str(jobs)], check=True)
        log_calls.run(job_logs, ours.url, seed, jobs)
        expected, got = posted(theirs), posted(ours)
    mismatches = 0
    for path in sorted(expected.keys() | got.keys()):
        for n, (one, other) in enumerate(zip_longest(expected[path], got[path])):
            if one != other:
                mismatches += 1
                if mismatches <= SHOWN:
                    print(f"{path} body {n}: expected {one}, got {other}")
    bodies = sum(map(len, expected.values()))
    print(f"reference {REFERENCE}, seed {seed}: {bodies} bodies, {mismatches} mismatches")
    return 1 if mismatches or not bodies else 0


if __name__ == "__main__":
    sys.exit(main())
