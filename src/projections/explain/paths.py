"""Paths to the values of a reading's JSON, such as ``turns[2].response.parts[0].ms``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from eventstore.errors import TurnlogError

Step = str | int


class UnknownPath(TurnlogError):
    """The reading has no value at the path."""


class Path(msgspec.Struct, frozen=True):
    """A path to one value: a list or object of the reading, an index, and the steps from there."""

    root: str
    """``turns``, ``discarded``, ``outside``, ``session`` …"""
    index: int | None
    """Index in the list, from 0; None if the root is an object."""
    steps: tuple[Step, ...]
    """Keys and indices from there to the value."""

    @property
    def item(self) -> str:
        return self.root if self.index is None else f"{self.root}[{self.index}]"

    def __str__(self) -> str:
        return self.item + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in self.steps)


_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_WORDS = re.compile(r"(?:(?P<root>turn|discarded|outside)\s+)?(?P<number>\d+)(?:\s+(?P<field>\S+))?$")
_FIELDS = {"turns": "e2e_latency", "discarded": "reason", "outside": "reason"}
"""Default fields."""


def parse(text: str) -> Path:
    """Parse a path, or words such as ``turn 3 e2e_latency``, which count from 1. Raises `UnknownPath`."""
    text = text.strip()
    if (words := _WORDS.match(text)) is not None:
        if words["number"] == "0":
            raise UnknownPath("there is no turn 0: turns are counted from 1")
        root = {"turn": "turns", None: "turns"}.get(words["root"], words["root"])
        text = f"{root}[{int(words['number']) - 1}]" + (f".{words['field']}" if words["field"] else "")
    at, steps = 0, list[Step]()
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            break
        steps.append(int(found[2]) if found[2] is not None else found[1])
        at = found.end()
    if at < len(text) or not steps or isinstance(steps[0], int):
        raise UnknownPath(f"{text!r} is not a path; write turns[2].e2e_latency, or: turn 3 e2e_latency")
    root, rest = steps[0], steps[1:]
    index = rest[0] if rest and isinstance(rest[0], int) else None
    rest = rest if index is None else rest[1:]
    if not rest and index is not None and root in _FIELDS:
        rest = [_FIELDS[root]]
    return Path(root, index, tuple(rest))


def walk(item: Any, path: Path) -> tuple[Any, list[Any]]:
    """The value at the path in ``item``, and the containers around it, outermost first.

    Raises `UnknownPath`, with similar paths.
    """
    value, around = item, []
    for step in path.steps:
        inside = value
        around.append(inside)
        try:
            value = inside[step] if isinstance(inside, dict | list) else getattr(inside, str(step))  # type: ignore[index]
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise _unknown(item, path) from error
    if isinstance(value, dict | list | msgspec.Struct) or not path.steps:
        names = [f"{path}{_suffix(name)}" for name, _value in leaves(value)]
        there = f"name a value in it, like {' or '.join(names[:3])}" if names else "it is empty"
        raise UnknownPath(f"{path} is not a single value; {there}")
    return value, around


def leaves(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of all scalars in a value."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{above}.{key}" if above else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, f"{above}[{number}]")
    else:
        yield above, value


def _unknown(item: Any, path: Path) -> UnknownPath:
    wanted = str(path)[len(path.item) :].removeprefix(".")
    there = [name for name, _value in leaves(item)]
    near = get_close_matches(wanted, there, 3) or [n for n in there if wanted.rpartition(".")[2] in n][:3] or there[:3]
    return UnknownPath(f"{path.item} has no {wanted!r}; did you mean {' or '.join(near)}?")


def _suffix(name: str) -> str:
    return name if name.startswith("[") else f".{name}"
