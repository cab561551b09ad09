"""Names of a package that are imported on first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__``: maps a public name to the module that defines it, or to ``module:other_name``.

    What an agent does not use is not imported into its process: neither other frameworks nor exporters.
    """
    origin = dict(modules)

    def get(name: str) -> Any:
        if name not in origin:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _colon, original = origin[name].partition(":")
        value = getattr(import_module(module), original or name)
        setattr(sys.modules[package], name, value)  # so that this is called once a name
        return value

    return get
