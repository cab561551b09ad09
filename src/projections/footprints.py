"""What could a hook change, whatever it is given and whenever it comes? Read from the code of its handler.

An explanation must also name the events that changed nothing, but would have with other arguments or at another time.
Which those are, nobody writes down: the handlers' byte code says which fields they and the functions they call assign.
This is coarse, by the name of the field, and errs on the side of too many.
"""

from __future__ import annotations

import dis
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from projections.reference.handlers import HANDLERS
from projections.reference.handlers.session import _reset as reset_all

_MUTATORS = frozenset(
    {"append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "sort", "reverse", "popitem"}
)
_OPENS, _CLOSES = frozenset({"start_turn"}), frozenset({"complete_turn", "close_turn"})
_TELL = frozenset({"trace_turn", "trace_turn_records", "trace_error", "analytics_payload"})
"""They read what is complete, and change nothing of it."""


class Footprint(NamedTuple):
    writes: frozenset[str]
    """Names of the fields that may be assigned, or whose list or dict may be changed, in a turn that is open."""
    opens: bool
    """It may open a turn."""
    closes: bool
    """It may end one."""


@cache
def footprint(hook: str) -> Footprint:
    """Of an event's hook. Opening and ending a turn are counted apart: see `opening` and `closing`."""
    bare, with_args, _version = HANDLERS[hook]
    handler: Any = bare or with_args
    opens = bool(_OPENS & {function.__name__ for function in _called(handler)})
    closes = bool(_CLOSES & {function.__name__ for function in _called(handler, _OPENS)}) or hook in _OPENS
    own = (
        _written(_called(handler, _OPENS | _CLOSES | _TELL))
        if handler.__name__ not in _OPENS | _CLOSES
        else frozenset()
    )
    return Footprint(own, opens, closes)


@cache
def once(hook: str) -> frozenset[str]:
    """Fields that a hook assigns at one place, in the handler itself: what it reads after that has no say in them."""
    bare, with_args, _version = HANDLERS[hook]
    handler: Any = bare or with_args
    stored: Counter[str] = Counter()
    for function in _called(handler, _OPENS | _CLOSES):
        for code in _codes(function.__code__):
            stored.update(now.argval for now in dis.get_instructions(code) if now.opname == "STORE_ATTR")
            if "setattr" in code.co_names:
                return frozenset()
    own = {now.argval for now in dis.get_instructions(handler) if now.opname == "STORE_ATTR"}
    return frozenset(name for name in own if stored[name] == 1)


@cache
def opening() -> frozenset[str]:
    """Fields that the opening of a turn may assign."""
    start: Any = HANDLERS["start_turn"][0]
    return _written([start, *_called(start, _OPENS | _CLOSES)])


@cache
def closing() -> frozenset[str]:
    """Fields that the end of a turn may assign."""
    complete: Any = HANDLERS["complete_turn"][0]
    return _written(_called(complete, _OPENS | _TELL))


@cache
def aside(function: FunctionType) -> frozenset[str]:
    """Fields that one function and those that it calls assign."""
    return _written(_called(function))


@cache
def resetting() -> frozenset[str]:
    """Fields that the end of a session resets (switch ``finalize_resets``), whatever they are."""
    reset: Any = reset_all
    return _written([reset])


def _called(function: FunctionType, leaving_out: frozenset[str] = frozenset()) -> list[FunctionType]:
    """The function and all of ours that it calls, and those call, but for those of these names."""
    found: dict[str, FunctionType] = {}
    waiting = [function]
    while waiting:
        each = waiting.pop()
        found[each.__module__ + each.__qualname__] = each
        for name in {name for code in _codes(each.__code__) for name in code.co_names}:
            called = each.__globals__.get(name)
            if (
                isinstance(called, FunctionType)
                and called.__module__.startswith("projections.")
                and name not in leaving_out
                and called.__module__ + called.__qualname__ not in found
            ):
                waiting.append(called)
    return list(found.values())


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code and that of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _written(functions: list[FunctionType]) -> frozenset[str]:
    found: set[str] = set()
    loaded: set[str] = set()
    handed_over = False
    for function in functions:
        for code in _codes(function.__code__):
            stored, read, loose, through_parameter = _fields_of(code)
            found |= stored | (read if loose else set())
            loaded |= read
            handed_over = handed_over or through_parameter
            if "setattr" in code.co_names:
                constants = [value for name, value in function.__globals__.items() if name.strip("_").isupper()]
                found |= set(_texts(constants))
    return frozenset(found | loaded) if handed_over else frozenset(found)


def _fields_of(code: CodeType) -> tuple[set[str], set[str], bool, bool]:
    """Names that are assigned or changed in place; that are read; whether something nameless is changed in place, and
    whether that may be a parameter."""
    stored: set[str] = set()
    read: set[str] = set()
    loose = through_parameter = False
    parameters = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    before: dis.Instruction | None = None
    for now in dis.get_instructions(code):
        if now.opname in ("STORE_ATTR", "DELETE_ATTR"):
            stored.add(now.argval)
        elif now.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            loose = True
        elif now.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            if now.argval not in _MUTATORS:
                read.add(now.argval)
            elif before is not None and before.opname == "LOAD_ATTR":
                stored.add(before.argval)
            else:
                loose = True
                through_parameter |= before is not None and before.argval in parameters
        before = now
    return stored, read, loose, through_parameter


def _texts(values: list[Any]) -> Iterator[str]:
    """The strings in a module's constants, as a name that is assigned by `setattr` is one of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _texts([*value, *value.values()])
        elif isinstance(value, (tuple, list, frozenset)):
            yield from _texts(list(value))
