"""The span tree of the caller's reading: turns with their activities."""

from projections.spans.span import ROOT, Span, identities
from projections.spans.tree import by_event, settled, span_tree, turn_spans

__all__ = ["ROOT", "Span", "by_event", "identities", "settled", "span_tree", "turn_spans"]
