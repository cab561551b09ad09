"""Decorators that declare what a hook's method records, and the type `Record`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from eventstore.hooks.arguments import Args

P = ParamSpec("P")
R = TypeVar("R")


class Record(Protocol):
    """Records one call: reads the clocks, takes the next ``seq``, writes to the journal. Never raises."""

    def __call__(self, hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None, /) -> None: ...


def payload_fields(**arguments: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a payload that differs from the method's parameters (as where an object is reduced to its fields).

    ``arguments`` maps each name in the payload to its default, or to ``...`` if it is required.
    """

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["recorded"] = arguments
        return method

    return mark


def optional_since(**arguments: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare arguments that a hook got after version 1, with their defaults; see `without_defaults`."""

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["later"] = arguments
        return method

    return mark


def without_defaults(args: Args, later: Mapping[str, Any]) -> Args:
    """``args`` without the ``later`` ones that equal their default.

    So a call without a later argument is recorded, and a file imported again, byte for byte as before the argument
    existed.
    """
    return {name: value for name, value in args.items() if name not in later or value is not later[name]}


def schema_version(number: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare the version of a hook whose arguments have changed; `eventstore.codec` upcasts older events."""

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["version"] = number
        return method

    return mark
