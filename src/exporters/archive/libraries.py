"""The libraries of the extras, and the error that names the extra of a missing one."""

from __future__ import annotations

from importlib import import_module

from eventstore.errors import TurnlogError


class MissingExtra(TurnlogError):
    """A library that archives need is not installed."""


def need(extra: str, *modules: str) -> None:
    """Raise `MissingExtra` unless the modules can be imported."""
    try:
        for module in modules:
            import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this needs the extra: pip install 'turnlog[{extra}]' ({error})") from error
