"""The guard of the adapters: the framework goes on, and what failed is counted."""

from __future__ import annotations

import asyncio
import logging

import pytest

from turnlog.adapters.guard import Guard


def test_failures_are_counted_and_the_first_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(logging.getLogger("turnlog.test"), "a frame")
    for text in ("one", "two"):
        with guard:
            raise ValueError(text)
    assert (guard.failed, guard.last_error) == (2, "ValueError: two")
    (line,) = caplog.messages
    assert line == (
        "a frame could not be recorded, and the call goes on (later failures are only counted): ValueError: one"
    )


def test_a_guarded_function_returns_nothing_where_it_fails() -> None:
    guard = Guard(logging.getLogger("turnlog.test"), "a frame")
    halve = guard(lambda number: 1 / number)
    assert halve(2) == 0.5
    assert halve(0) is None
    assert guard.failed == 1


def test_a_cancellation_is_the_hosts() -> None:
    guard = Guard(logging.getLogger("turnlog.test"), "a frame")
    with pytest.raises(asyncio.CancelledError), guard:
        raise asyncio.CancelledError
    assert guard.failed == 0


def test_an_error_that_cannot_be_shown_is_counted_too() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    guard = Guard(logging.getLogger("turnlog.test"), "a frame")
    with guard:
        raise Odd
    assert guard.failed == 1
    assert guard.last_error is not None
