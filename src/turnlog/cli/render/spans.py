"""The spans of a call on the terminal, as a tree."""

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
    """The spans as a tree; those that never ended are marked."""
    ended = call.spans
    tree = Tree(f"[bold]{safe(call.session_name)}[/]  {plural(len(ended), 'span')}")
    if isinstance(call, Call):
        _grow(tree, sorted([*call.spans, *call.open_spans], key=lambda span: span.id))
        for failure in call.span_failures:
            tree.add(f"[dim]a {failure.component} span is missing or never ended: {safe(failure.error)}[/]")
    else:
        _grow(tree, sorted(call.spans, key=_from_the_root))
    return tree


def _from_the_root(span: ReadSpan) -> tuple[int, int]:
    """The root, then turns and what is no turn's, then what is inside of turns; each by start."""
    return 0 if span.parent is None else 1 if span.parent == ROOT else 2, span.start_ns


def _grow(tree: Tree, spans: list[Span] | list[ReadSpan]) -> None:
    """``spans`` stand in an order in which a parent comes before its children."""
    branches: dict[int | str, Tree] = {}
    for span in spans:
        above = branches.get(span.parent, tree) if span.parent is not None else tree
        branches[span.id] = above.add(_span(span))


def _span(span: Span | ReadSpan) -> str:
    if span.end_ns is None:
        return f"{safe(span.name)}  [dim]never ended[/]"
    colour = "red" if span.status == "ERROR" else "green"
    return f"{safe(span.name)}  [{colour}]{(span.end_ns - span.start_ns) / 1e6:,.1f} ms[/]"
