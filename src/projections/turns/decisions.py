"""The decisions by which turns are assembled: each a named function, with a sentence that says why.

`docs/rules.md` has a row for each, made from here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
DECISIONS: dict[str, str] = {}
"""By name: the sentence."""


def decision(function: F) -> F:
    """Enter the function as a decision; the first line of its docstring is the sentence."""
    DECISIONS[function.__name__] = (function.__doc__ or "").strip().partition("\n")[0]
    return function
