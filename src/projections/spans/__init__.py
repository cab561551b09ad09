"""The span tree of the caller's reading: turns, and in them every activity once."""

from projections.spans.span import ROOT, Span, identities
from projections.spans.tree import settled, span_tree

__all__ = ["ROOT", "Span", "identities", "settled", "span_tree"]
