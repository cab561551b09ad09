"""The characters that a terminal obeys instead of showing."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""Control characters (C0, DEL, C1), line separators, bidirectional controls and lone surrogates."""
