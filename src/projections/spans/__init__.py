"""The span tree of the caller's reading: turns, and in them every activity once."""

from projections.spans.span import Span, identities
from projections.spans.tree import settled, span_tree

__all__ = ["Span", "identities", "settled", "span_tree"]
