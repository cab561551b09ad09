"""Compare what goes out over HTTP with what the published reference's own clients send, for all of the fixtures' calls.

``python analytics_bodies.py`` runs the reference in the environment that `differential.py` makes. The reference gets
the payloads it produced itself, ours are those of the replay. Prints ``N bodies, M playground messages, K mismatches``;
exits 1 if K > 0, and 0 with a message if the reference cannot be installed here.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from differential import HERE, SHOWN, reference_python
from exporters.analytics.destination import TOKEN, Analytics, routing
from exporters.playground.stream import message
from exporters.reference.analytics_client import AnalyticsClient
from projections.reference.replay import Call, replay
from turnlog.recordings import Recording, events_of

sys.path.insert(0, str(HERE.parent))
from support.http_receiver import Receiver

FIXTURE = HERE.parents[1] / "fixtures" / "conformance.jsonl.gz"
SECRET = "a-token"
OWN_HEADERS = {"X-Own": "own", "Authorization": "Bearer own"}
Job = dict[str, Any]
COMPARED = ("authorization", "content-type", "x-own")


def routings(url: str) -> dict[str, dict[str, Any] | None]:
    own = {"export_url": f"{url}/own/endpoint?a=b", "export_headers": OWN_HEADERS}
    return {
        "no options": None,
        "default": {"enabled": True, "export_url": None, "export_headers": None},
        "own": {"enabled": True, **own},
        "own without headers": {"enabled": True, "export_url": own["export_url"], "export_headers": None},
        "disabled": {"enabled": False, "export_url": None, "export_headers": None},
        "disabled with own": {"enabled": False, **own},
    }


def by_endpoint(endpoint: Receiver) -> dict[str, list[dict[str, Any]]]:
    """What has come, in order at each address: the reference sends a first turn to two of them at the same time."""
    found: dict[str, list[dict[str, Any]]] = {}
    for request in endpoint.requests:
        headers = {name: request.headers.get(name) for name in COMPARED}
        found.setdefault(request.path, []).append({"headers": headers, "body": json.loads(request.body)})
    endpoint.requests.clear()
    return found


def by_destination(sessions: list[tuple[Job, Call]], url: str, options: dict[str, Any] | None) -> None:
    to = Analytics(routing(base_url=url, vendor_first_turn=True, **(options or {})))
    for _job, call in sessions:
        for item in to.items(call):
            to.send([item])
    to.close()


def by_client(sessions: list[tuple[Job, Call]], url: str, options: dict[str, Any] | None) -> None:
    given = SimpleNamespace(**options) if options is not None else None
    with AnalyticsClient(vendor_first_turn=True, base_url=url) as client:
        for job, call in sessions:
            client.configure(given)
            client.set_session_id(job["session_id"])
            for payload in call.payloads:
                client.send_interaction_analytics_safe(payload)
            assert client.flush(60)
        assert client.health.refused == client.health.dropped == 0


def compare(what: str, expected: list[Any], got: list[Any]) -> list[str]:
    """Exactly: True is not 1. The order of fields is no part of JSON."""
    found = [f"{what}: {len(expected)} expected, got {len(got)}"] if len(expected) != len(got) else []
    for n, pair in enumerate(zip(expected, got, strict=False)):
        one, other = (json.dumps(value, sort_keys=True) for value in pair)
        if one != other:
            at = max(0, next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0) - 40)
            found.append(f"{what} {n}: expected …{one[at : at + 120]}, got …{other[at : at + 120]}")
    return found


def analytics(python: Path, sessions: list[tuple[Recording, Call]]) -> tuple[int, list[str]]:
    count, mismatches = 0, []
    with Receiver() as endpoint:
        for name, options in routings(endpoint.url).items():
            jobs = [(job(recording, call, endpoint.url, options), call) for recording, call in sessions]
            lines = "".join(json.dumps(one) + "\n" for one, _call in jobs)
            subprocess.run([python, HERE / "reference_clients.py", "analytics"], input=lines, text=True, check=True)
            expected = by_endpoint(endpoint)
            for send in (by_destination, by_client):
                send(jobs, endpoint.url, options)
                got = by_endpoint(endpoint)
                for path in expected | got:
                    mismatches += compare(f"{name}, {send.__name__}, {path}", expected.get(path, []), got.get(path, []))
                    count += len(expected.get(path, []))
    return count, mismatches


def job(recording: Recording, call: Call, url: str, options: dict[str, Any] | None) -> Job:
    """What the reference's client is to do: send what the reference made of these calls.

    It would send nothing to the vendor for a session without an id, where we take the log's name.
    """
    payloads = (recording.model_extra or {})["expect"]["payloads"]
    plain = [{name: value for name, value in payload.items() if name != "_at"} for payload in payloads]
    session_id = call.session.session_id or recording.name
    return {"base_url": url, "options": options, "session_id": session_id, "payloads": plain}


def playground(python: Path, sessions: list[tuple[Recording, Call]]) -> tuple[int, list[str]]:
    """What the reference's ``PlaygroundManager`` publishes, to the letter of the metrics' JSON text."""
    lines = "".join(recording.model_dump_json() + "\n" for recording, _call in sessions)
    command = [python, HERE / "reference_clients.py", "playground"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    answers = [line for line in done.stdout.splitlines() if line.startswith("[{") or line == "[]"]
    count, mismatches = 0, []
    for line, (recording, call) in zip(answers, sessions, strict=True):
        expected = json.loads(line)
        mismatches += compare(f"playground, {recording.name}", expected, [message(one) for one in call.playground])
        count += len(expected)
    return count, mismatches


def main() -> int:
    python = reference_python()
    if python is None:
        print("SKIPPED the comparison with the reference's clients: it could not be installed here")
        return 0
    os.environ[TOKEN] = SECRET
    with gzip.open(FIXTURE) as lines:
        recordings = [Recording.model_validate_json(line) for line in lines]
    sessions = [(recording, replay(events_of(recording.name, recording))) for recording in recordings]
    bodies, mismatches = analytics(python, sessions)
    messages, differing = playground(python, sessions)
    mismatches += differing
    for line in mismatches[:SHOWN]:
        print(line)
    print(f"{bodies} bodies, {messages} playground messages, {len(mismatches)} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
