"""What is in a file of ``turnlog export html``."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any


def data_in(page: str) -> dict[str, Any]:
    """The data of the page."""
    return dict(json.loads(text_in(page)))


def text_in(page: str) -> str:
    """The data as JSON text."""
    packed = re.search(r'<script type="application/gzip;base64" id="call-data">([\w+/=]*)</script>', page)
    assert packed is not None
    return gzip.decompress(base64.b64decode(packed[1])).decode()
