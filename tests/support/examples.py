"""How long hypothesis searches: `make test` briefly, `make test-all` in full."""

from __future__ import annotations

import os

USUAL = 100


def examples(number: int = USUAL) -> int:
    """``number`` scaled by ``TURNLOG_EXAMPLES``, of which 100 is the full search; at least 1."""
    return max(1, number * int(os.environ.get("TURNLOG_EXAMPLES", str(USUAL))) // USUAL)
