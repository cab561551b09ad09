"""Registry of the decisions that assemble turns: named functions, each with a sentence that explains it.

The table in `docs/rules.md` is generated from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
DECISIONS: dict[str, str] = {}
"""Sentence by decision name."""


def decision(function: F) -> F:
    """Register the function as a decision; the first line of its docstring is the sentence."""
    DECISIONS[function.__name__] = (function.__doc__ or "").strip().partition("\n")[0]
    return function
