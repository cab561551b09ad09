"""Why is this number what it is?"""

from projections.in_words import in_words

__all__ = ["in_words"]
