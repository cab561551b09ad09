"""Differences between two documents of a growing call, which the page applies to the one that it has."""

from __future__ import annotations

from typing import Any

KEYS = {"turns": "turn", "spans": "id"}
"""Lists whose items are replaced one by one, and the item's key."""

ROWS = ("events", "outside")
"""Lists that grow at their end."""

Delta = dict[str, Any]


def delta(before: dict[str, Any], after: dict[str, Any]) -> Delta:
    """What changed: ``set`` has the changed values, each list of `KEYS` its changed items and the keys of removed ones.

    A changed item has its key and the fields that changed. Of the lists in `ROWS`, those that differ have all rows
    ``from`` the first one that does.
    """
    lists = (*KEYS, *ROWS)
    found: Delta = {"set": _changed(before, {name: value for name, value in after.items() if name not in lists})}
    for name, key in KEYS.items():
        change = _items(before[name], after[name], key)
        if change["set"] or change["remove"]:
            found[name] = change
    for name in ROWS:
        old, new = before.get(name, []), after.get(name, [])
        first = _common(old, new)
        if first < max(len(old), len(new)):
            found[name] = {"from": first, "rows": new[first:]}
    return found


def _items(before: list[dict[str, Any]], after: list[dict[str, Any]], key: str) -> dict[str, list[Any]]:
    old = {item[key]: item for item in before}
    new = {item[key]: item for item in after}
    return {
        "set": [{key: name} | _changed(old.get(name, {}), item) for name, item in new.items() if old.get(name) != item],
        "remove": [name for name in old if name not in new],
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The entries that differ."""
    return {name: value for name, value in after.items() if name not in before or before[name] != value}


def _common(before: list[Any], after: list[Any]) -> int:
    """Length of the common beginning; an event that arrives late comes before others."""
    shared = min(len(before), len(after))
    return shared if before[:shared] == after[:shared] else next(n for n in range(shared) if before[n] != after[n])
