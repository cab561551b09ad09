"""`HOOKS`: every hook by its name in the log, derived from the typed methods."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple

from eventstore.errors import BadArguments, UnknownHook
from eventstore.hooks.arguments import Args
from eventstore.hooks.collector import CollectorHooks
from eventstore.hooks.declare import without_defaults
from eventstore.hooks.later import LaterHooks
from eventstore.hooks.own import OwnHooks
from eventstore.hooks.traces import TracesHooks

TRACES = "traces."


class Hook(NamedTuple):
    """A kind of event."""

    name: str
    """Name in the log: ``on_llm_start``, ``traces.agent_say_called``."""
    version: int
    """Current schema version of the arguments."""
    arguments: Mapping[str, Any]
    """Arguments in the payload: each name with its default, or ``...`` if it is required."""

    later: Mapping[str, Any]
    """Arguments added after version 1, with their defaults; the payload has them only if they differ."""

    def complete(self, args: Args) -> Args:
        """``args`` with defaults filled in, except for `later` ones.

        Raises `BadArguments` for a missing or unknown argument.
        """
        unknown = args.keys() - self.arguments.keys()
        if unknown:
            raise BadArguments(f"{self.name} takes no argument {min(unknown)!r}; it has: {', '.join(self.arguments)}")
        missing = [name for name, default in self.arguments.items() if default is ... and name not in args]
        if missing:
            raise BadArguments(f"{self.name} lacks its argument {missing[0]!r}")
        return without_defaults({name: args.get(name, default) for name, default in self.arguments.items()}, self.later)


def _hooks(cls: type, prefix: str) -> dict[str, Hook]:
    found = {}
    for method_name, method in vars(cls).items():
        if method_name.startswith("_") or not inspect.isfunction(method):
            continue
        arguments = vars(method).get("recorded")
        if arguments is None:
            parameters = list(inspect.signature(method).parameters.values())[1:]
            arguments = {p.name: ... if p.default is p.empty else p.default for p in parameters}
        name = prefix + method_name
        found[name] = Hook(
            name, vars(method).get("version", 1), MappingProxyType(arguments), vars(method).get("later", {})
        )
    return found


HOOKS: Mapping[str, Hook] = MappingProxyType(
    _hooks(CollectorHooks, "") | _hooks(LaterHooks, "") | _hooks(OwnHooks, "") | _hooks(TracesHooks, TRACES)
)


def find_hook(target: str, hook: str) -> Hook:
    """The hook ``hook`` of ``target`` (``collector`` or ``traces``). Raises `UnknownHook` with a suggestion."""
    if target not in ("collector", "traces"):
        raise UnknownHook(f"unknown target {target!r}; use 'collector' or 'traces'")
    name = TRACES + hook if target == "traces" else hook
    if name in HOOKS and name.startswith(TRACES) == (target == "traces"):
        return HOOKS[name]
    near = get_close_matches(name, HOOKS, 1)
    raise UnknownHook(f"unknown hook {hook!r} of {target!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
