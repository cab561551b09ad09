"""How a hook's method says what it records. The methods themselves are in `collector_hooks` and `traces_hooks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from eventstore.hooks.arguments import Args

P = ParamSpec("P")
R = TypeVar("R")


class Record(Protocol):
    """Appends one call: reads the clocks, takes the ``seq``, journals. Never raises."""

    def __call__(self, hook: str, args: Args | None = None, adapt: Callable[[Args], Args] | None = None, /) -> None: ...


def payload_fields(**arguments: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a hook whose event carries other arguments than the method takes (an object becomes what is read of it).

    ``arguments`` maps each name in the event to its default, or to ``...`` where there is none.
    """

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["recorded"] = arguments
        return method

    return mark


def optional_since(**arguments: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark the arguments that a hook got after version 1, each with its default; see `without_defaults`."""

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["later"] = arguments
        return method

    return mark


def without_defaults(args: Args, later: Mapping[str, Any]) -> Args:
    """``args`` without those of ``later`` that are the default.

    An event has a later argument only where it says something: so a call that knows nothing of it is recorded, and a
    file imported again, as it was before there was such an argument, to the byte.
    """
    return {name: value for name, value in args.items() if name not in later or value is not later[name]}


def schema_version(number: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a hook whose arguments changed since version 1; `eventstore.codec` carries older events forward."""

    def mark(method: Callable[P, R]) -> Callable[P, R]:
        vars(method)["version"] = number
        return method

    return mark
