"""The wrappers of `projections.provenance`: what handlers get in place of the state, its records, lists and dicts.

They behave like what they wrap and note what is read and written. What cannot be changed in place, and what an agent
handed over as JSON, comes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import msgspec

from projections import model
from projections.reference import metrics
from projections.reference import state as states
from projections.reference.rules import Rules
from projections.reference.state import State

_BOOKKEEPING = frozenset(
    {
        "at", "origin", "last_seq", "seqs", "session_name", "wall_ns", "epoch_ns", "turn_has_session", "spans_wanted",
        "signals_wanted", "turns", "discarded", "interruptions", "payloads", "payloads_at", "emits", "playground",
        "spans", "span_failures", "logs", "raised", "clock_errors", "shift_ns", "shifts_ns",
        "total_interruptions",
    }
)  # fmt: skip
"""Of the state: the event at hand, and what came out. No turn's number is made of them."""
ITEMS = "[]"
"""The field that stands for all of a list or dict."""


class Notes(Protocol):
    def wrap(self, value: Any, place: Any, name: str) -> Any: ...
    def note_read(self, number: int, field: str, value: Any) -> None: ...
    def note_write(self, number: int, field: str, value: Any) -> None: ...
    def note_switch(self, switch: str) -> None: ...
    def note_decision(self) -> None: ...
    def note_end(self) -> None: ...
    def note_told(self) -> None: ...


class Noted:
    """Of a wrapper: where it notes, and the number and the object that it stands for."""

    __slots__ = ("_notes", "_number", "_raw")
    _notes: Notes
    _number: int
    _raw: Any

    def __init__(self, notes: Notes, number: int, raw: Any) -> None:
        object.__setattr__(self, "_notes", notes)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_raw", raw)


def bare(value: Any) -> Any:
    """What may be stored: no wrapper, and no list of wrappers."""
    if isinstance(value, Noted):
        return value._raw
    if type(value) is list and any(isinstance(item, Noted) for item in value):
        value[:] = [bare(item) for item in value]
    return value


class NotedStruct(Noted):
    __slots__ = ()

    def __getattr__(self, field: str) -> Any:
        value = self._notes.wrap(getattr(self._raw, field), (self._number, field), field)
        self._notes.note_read(self._number, field, value)
        return value

    def __setattr__(self, field: str, value: Any) -> None:
        value = bare(value)
        setattr(self._raw, field, value)
        self._notes.note_write(self._number, field, value)
        self._notes.wrap(value, (self._number, field), field)  # met where it is stored


class NotedState(NotedStruct):
    __slots__ = ()

    def __getattr__(self, field: str) -> Any:
        if field in _BOOKKEEPING:
            return getattr(self._raw, field)
        if field == "rules":
            return NotedRules(self._notes, self._raw.rules)
        if field == "session":  # there is one, from first to last
            return self._notes.wrap(self._raw.session, (self._number, field), field)
        if field == "traces":
            self._notes.note_told()
            return self._raw.traces
        if field == "total_turns":
            self._notes.note_decision()
            return self._raw.total_turns
        return NotedStruct.__getattr__(self, field)

    def __setattr__(self, field: str, value: Any) -> None:
        if field == "turn_has_session" and value is True:
            self._notes.note_end()
        if field in _BOOKKEEPING or field == "total_turns":
            setattr(self._raw, field, bare(value))
        else:
            NotedStruct.__setattr__(self, field, value)


class NotedRules:
    __slots__ = ("_notes", "_raw")

    def __init__(self, notes: Notes, raw: Rules) -> None:
        self._notes, self._raw = notes, raw

    def __getattr__(self, switch: str) -> Any:
        self._notes.note_switch(switch)
        return getattr(self._raw, switch)


class _NotedItems(Noted):
    """A list or a dict: one place, whatever part of it is meant."""

    __slots__ = ()

    def _read(self) -> Any:
        self._notes.note_read(self._number, ITEMS, None)
        return self._raw

    def _changed(self) -> None:
        self._notes.note_write(self._number, ITEMS, None)

    def _item(self, value: Any) -> Any:
        return self._notes.wrap(value, (self._number, ITEMS), ITEMS)

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, value: Any) -> bool:
        return value in self._read()

    def __eq__(self, other: object) -> bool:
        return bool(self._read() == bare(other))

    __hash__ = None  # type: ignore[assignment]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._read()[key] = bare(value)
        self._changed()
        self._item(bare(value))

    def __delitem__(self, key: Any) -> None:
        del self._read()[key]
        self._changed()

    def pop(self, *key: Any) -> Any:
        value = self._item(self._read().pop(*key))
        self._changed()
        return value

    def clear(self) -> None:
        self._raw.clear()
        self._changed()


class NotedList(_NotedItems):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return (self._item(value) for value in list(self._read()))

    def __reversed__(self) -> Iterator[Any]:
        return (self._item(value) for value in reversed(list(self._read())))

    def __getitem__(self, index: Any) -> Any:
        found = self._read()[index]
        return [self._item(value) for value in found] if isinstance(index, slice) else self._item(found)

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self, *other]

    def append(self, value: Any) -> None:
        self._read().append(bare(value))
        self._changed()
        self._item(bare(value))

    def insert(self, index: int, value: Any) -> None:
        self._read().insert(index, bare(value))
        self._changed()
        self._item(bare(value))

    def remove(self, value: Any) -> None:
        self._read().remove(bare(value))
        self._changed()

    def extend(self, values: Iterable[Any]) -> None:
        added = [bare(value) for value in values]
        self._read().extend(added)
        self._changed()
        for value in added:
            self._item(value)

    def __iadd__(self, values: Iterable[Any]) -> NotedList:
        self.extend(values)
        return self


class NotedDict(_NotedItems):
    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._read()))

    def __getitem__(self, key: Any) -> Any:
        return self._item(self._read()[key])

    def get(self, key: Any, default: Any = None) -> Any:
        return self._item(self._read().get(key, default))

    def keys(self) -> list[Any]:
        return list(self._read())

    def values(self) -> list[Any]:
        return [self._item(value) for value in self._read().values()]

    def items(self) -> list[tuple[Any, Any]]:
        return [(key, self._item(value)) for key, value in self._read().items()]

    def update(self, values: dict[Any, Any]) -> None:
        self._read().update(values)
        self._changed()

    def setdefault(self, key: Any, value: Any) -> Any:
        found = self._item(self._read().setdefault(key, bare(value)))
        self._changed()
        return found


def _fields_of(kind: str) -> frozenset[str]:
    types = [each for module in (model, metrics, states) for each in vars(module).values() if isinstance(each, type)]
    ours = [each for each in types if each is State or issubclass(each, msgspec.Struct)]
    return frozenset(
        field
        for each in ours
        for field, written in vars(each).get("__annotations__", {}).items()
        if written.startswith(kind)
    )


_LISTS, _DICTS = _fields_of("list["), _fields_of("dict[str, dict") | {ITEMS}
"""Fields that are lists or dicts of ours; in one that is ``Any``, a list or dict is what an agent handed over."""


def wrapper(value: Any, field: str) -> Callable[[Notes, int, Any], Noted] | None:
    """What to wrap a value of that field in; None if it comes as it is."""
    if isinstance(value, State):
        return NotedState
    if isinstance(value, msgspec.Struct):
        return NotedStruct
    if type(value) is list and field in _LISTS:
        return NotedList
    if type(value) is dict and field in _DICTS:
        return NotedDict
    return None
