"""Measures: a flat record of numbers per turn, for statistics."""

from projections.measures.session import Measured, measured, measures, measures_of, measures_of_call
from projections.measures.turn import TurnMeasures

__all__ = ["Measured", "TurnMeasures", "measured", "measures", "measures_of", "measures_of_call"]
