"""A destination that keeps what it gets, and calls to deliver to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from eventstore import Event
from exporters.delivery.http import client, post
from exporters.delivery.retry import Patience
from projections.reference.replay import Call
from support.http_receiver import Receiver
from turnlog import Recorder

QUICK = Patience(first=0.001, longest=0.01, in_all=20)


TURN = ("on_user_speech_start", "on_llm_start", "on_llm_first_token", "set_user_transcript", "complete_turn")


def turns(session: str, count: int, *, first: int = 0, origin: str = "o", wall_ns: int = 10**18) -> list[Event]:
    """Events of ``count`` completed turns; what the user says is the turn's number."""
    found = []
    for n in range(first, first + count):
        for step, hook in enumerate(TURN):
            seq = n * len(TURN) + step
            payload = json.dumps({"transcript": str(n)}) if hook == "set_user_transcript" else "{}"
            found.append(Event(session, origin, seq, hook, 1, 10**9 + seq * 10**7, wall_ns + seq * 10**7, payload))
    return found


class Turns:
    """A destination: what the user said in each turn, one or more a request."""

    rules = "videosdk-1.0"

    def __init__(self, url: str, *, batch: int = 1, timeout: float = 5.0, name: str = "turns") -> None:
        self.name, self.batch, self._url = name, batch, url
        self._client = client(timeout)

    def items(self, call: Call) -> Sequence[tuple[str, str]]:
        return [(call.session_name, payload["user_speech"]) for payload in call.payloads]

    def encode(self, item: tuple[str, str]) -> bytes:
        return json.dumps(item).encode()

    def send(self, items: Sequence[tuple[str, str]]) -> None:
        post(self._client, self._url, json.dumps(items).encode(), {"authorization": "Bearer s3cr3t-t0ken"})

    def close(self) -> None:
        self._client.close()


def arrived(endpoint: Receiver) -> dict[str, list[int]]:
    """By session, in the order in which they came."""
    found: dict[str, list[int]] = {}
    for request in endpoint.taken:
        for session, number in request.json():
            found.setdefault(session, []).append(int(number))
    return found


def in_order(numbers: list[int]) -> bool:
    """Whether each came for the first time after all before it: a repeat may only follow what it repeats."""
    return list(dict.fromkeys(numbers)) == sorted(set(numbers))


def wait_for(condition: Any, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        threading.Event().wait(0.005)


def speak(recorder: Recorder, n: int) -> None:
    for hook in TURN:
        getattr(recorder, hook)(*([str(n)] if hook == "set_user_transcript" else []))
