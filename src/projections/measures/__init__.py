"""Measures: a flat record of numbers per turn, for statistics."""

from projections.measures.session import SessionMeasures, measures, measures_of, measures_of_call, session_measures
from projections.measures.turn import TurnMeasures

__all__ = ["SessionMeasures", "TurnMeasures", "measures", "measures_of", "measures_of_call", "session_measures"]
