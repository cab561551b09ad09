"""Pages as HTML: templates, links with their state, and how times and numbers are written.

Text of a log reaches a page only through the template, which escapes it; control characters are written as escapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from turnlog.sessions import format_time
from turnlog.stats.figures import format_value
from turnlog.terminal import escaped, plural

HERE = Path(__file__).parent
STATIC = HERE / "static"

Params = Mapping[str, Sequence[str]]
"""The parameters of a URL; a name may have several values."""
Render = Callable[..., HTMLResponse]
"""``render(template, status=200, **values)``: a page made from a template."""


def renderer(log_name: str) -> Render:
    """A function that makes pages about the log called ``log_name``."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": format_ms,
        "duration": format_duration,
        "time": format_time,
        "whole": format_whole,
        "figure": format_figure,
    }
    environment.globals |= {"log_name": log_name, "call_url": call_url, "plural": plural, "page": ""}

    def render(template: str, status: int = 200, **values: Any) -> HTMLResponse:
        return HTMLResponse(environment.get_template(template).render(**values), status)

    return render


def _finalized(value: Any) -> Any:
    """A value as templates print it: text with control characters as escapes, which no browser then obeys."""
    return value if isinstance(value, Markup) else escaped(str(value))


def call_url(session: str, **parameters: str) -> str:
    """The URL of a session's page."""
    return link("/call", {name: [value] for name, value in {"session": session, **parameters}.items()})


def link(path: str, params: Params) -> str:
    """The path with those parameters that are not empty."""
    pairs = [(name, value) for name, values in params.items() for value in values if value]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def format_ms(value: float | None) -> str:
    """Milliseconds for a column with that heading."""
    return "–" if value is None else f"{value:,.0f}"


def format_figure(value: float | None) -> str:
    """A rounded value whose unit stands elsewhere."""
    return format_value(value, "")


def format_whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def format_duration(seconds: float) -> str:
    """A duration as ``4.2 s``, ``3:07`` or ``1:02:45``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
