"""The rows of the table: our figure, the peer's, and the goal, if any."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def comparison_row(
    work: str,
    ours: float,
    peer: str,
    theirs: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A row whose goal, if any, applies to the ratio of ours to theirs."""
    ratio = ours / theirs
    row = plain_row(work, ours, unit) | {"peer": peer, "theirs": figure(theirs, unit), "ratio": float(f"{ratio:.3g}")}
    if at_least is not None:
        row |= {"goal": f"≥ {at_least}", "reached": ratio >= at_least}
    if at_most is not None:
        row |= {"goal": f"≤ {at_most}", "reached": ratio <= at_most}
    return row


def plain_row(work: str, ours: float, unit: str) -> Row:
    """A row without a goal and without a peer."""
    return {
        "work": work, "ours": figure(ours, unit), "peer": "-", "theirs": "-",
        "ratio": None, "goal": "-", "reached": None,
    }  # fmt: skip


def with_bound(row: Row, ours: float, bound: float, unit: str) -> Row:
    """Add a goal for our figure itself to a row."""
    return row | {"goal": f"< {bound:g} {unit}", "reached": ours < bound}


def figure(value: float, unit: str) -> str:
    """The number with three significant digits, the precision of such measurements."""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
