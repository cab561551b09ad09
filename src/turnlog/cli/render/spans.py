"""Renders a call's spans as a tree."""

from __future__ import annotations

from rich.tree import Tree

from projections.caller import Reading
from projections.reference.replay import Call
from projections.reference.state import Span
from projections.spans import ROOT
from projections.spans import Span as ReadSpan
from turnlog.console import safe
from turnlog.terminal import plural


def span_tree(call: Reading | Call) -> Tree:
    """The call's spans as a tree; unended spans are marked."""
    ended = call.spans
    tree = Tree(f"[bold]{safe(call.session_name)}[/]  {plural(len(ended), 'span')}")
    if isinstance(call, Call):
        _add_spans(tree, sorted([*call.spans, *call.open_spans], key=lambda span: span.id))
        for failure in call.span_failures:
            tree.add(f"[dim]a {failure.component} span is missing or never ended: {safe(failure.error)}[/]")
    else:
        _add_spans(tree, sorted(call.spans, key=_by_depth))
    return tree


def _by_depth(span: ReadSpan) -> tuple[int, int]:
    """A sort key: the root, its children, then deeper spans; each level by start."""
    return 0 if span.parent is None else 1 if span.parent == ROOT else 2, span.start_ns


def _add_spans(tree: Tree, spans: list[Span] | list[ReadSpan]) -> None:
    """Add ``spans`` to the tree; each parent must come before its children."""
    branches: dict[int | str, Tree] = {}
    for span in spans:
        parent = branches.get(span.parent, tree) if span.parent is not None else tree
        branches[span.id] = parent.add(_span_label(span))


def _span_label(span: Span | ReadSpan) -> str:
    if span.end_ns is None:
        return f"{safe(span.name)}  [dim]never ended[/]"
    colour = "red" if span.status == "ERROR" else "green"
    return f"{safe(span.name)}  [{colour}]{(span.end_ns - span.start_ns) / 1e6:,.1f} ms[/]"
