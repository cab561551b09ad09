"""Measures: a flat record of numbers per turn, and the packed row of a session, for statistics."""

from projections.measures.row import SessionRow, session_row
from projections.measures.session import SessionMeasures, measures, measures_of, measures_of_call, session_measures
from projections.measures.turn import TurnMeasures

__all__ = [
    "SessionMeasures", "SessionRow", "TurnMeasures", "measures", "measures_of", "measures_of_call",
    "session_measures", "session_row",
]  # fmt: skip
