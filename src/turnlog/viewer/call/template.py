"""The template of the page of a call."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def template() -> Template:
    """The page's template."""
    environment = Environment(
        loader=PackageLoader("turnlog.viewer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("call.html")
