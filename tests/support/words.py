"""The words that the project's prose avoids; `docs/glossary.md` has those that it uses."""

from __future__ import annotations

import re

AVOIDED = re.compile(
    r"(?<!\.)\b(told|tells?|noted|heard of|asked for|what comes of|somebody|nobody|whoever|hangs? on|reckon\w*|so many"
    r"|by the wall|the house|is no number|may be anything|who calls)\b",
    re.IGNORECASE,
)
