"""Lazy imports of a package's public names (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``; ``modules`` maps each public name to the module that defines it.

    An agent's process thus imports only what it uses: neither other frameworks nor exporters.
    """
    modules = dict(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _colon, original = modules[name].partition(":")
        value = getattr(import_module(module), original or name)
        setattr(sys.modules[package], name, value)  # so that this is called once a name
        return value

    return get
