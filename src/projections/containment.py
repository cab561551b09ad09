"""Spans that hold their children (switch ``spans_contained``).

A parent may end before its children: what an agent told another comes back after the session has ended, and the last
turn is completed after the room was left. A trace viewer cuts off what sticks out, so the parent is widened to hold it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from projections.reference.state import Span


def contained(spans: Iterable[Span], open_spans: Iterable[Span]) -> tuple[list[Span], list[Span]]:
    """The spans in the same order, each from its first child's start at the latest to its last child's end at least.

    An open span has only a start. No span is changed: what is widened is a copy.
    """
    spans, open_spans = list(spans), list(open_spans)
    found = {span.id: span for span in (*spans, *open_spans)}
    for number in sorted(found, reverse=True):  # a parent starts before its children, so has a lower number
        child = found[number]
        parent = found.get(child.parent) if child.parent is not None else None
        if parent is not None:
            found[parent.id] = _holding(parent, child)
    return [found[span.id] for span in spans], [found[span.id] for span in open_spans]


def _holding(parent: Span, child: Span) -> Span:
    last = child.start_ns if child.end_ns is None else child.end_ns
    if child.start_ns < parent.start_ns:
        parent = replace(parent, start_ns=child.start_ns)
    if parent.end_ns is not None and parent.end_ns < last:
        parent = replace(parent, end_ns=last)
    return parent
