"""What is a hook? `HOOKS` has every one, by the name it has in the log, read from the typed methods themselves."""

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
    """As in the log: ``on_llm_start``, ``traces.agent_say_called``."""
    version: int
    """Schema version of the arguments that the recorder writes today."""
    arguments: Mapping[str, Any]
    """What the payload holds: each name with its default, or with ``...`` where it is required."""

    later: Mapping[str, Any]
    """The arguments, with their defaults, that came after version 1; the payload holds them only where they differ."""

    def complete(self, args: Args) -> Args:
        """``args`` with the defaults filled in, but for `later` ones.

        Raises `BadArguments` for a missing or an unknown one.
        """
        unknown = args.keys() - self.arguments.keys()
        if unknown:
            raise BadArguments(f"{self.name} takes no argument {min(unknown)!r}; it has: {', '.join(self.arguments)}")
        missing = [name for name, default in self.arguments.items() if default is ... and name not in args]
        if missing:
            raise BadArguments(f"{self.name} lacks its argument {missing[0]!r}")
        return without_defaults({name: args.get(name, default) for name, default in self.arguments.items()}, self.later)


def _hooks(of: type, prefix: str) -> dict[str, Hook]:
    found = {}
    for method_name, method in vars(of).items():
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
    """The hook ``hook`` of ``target`` (``collector`` or ``traces``). Raises `UnknownHook`, naming the nearest."""
    if target not in ("collector", "traces"):
        raise UnknownHook(f"unknown target {target!r}; there are 'collector' and 'traces'")
    name = TRACES + hook if target == "traces" else hook
    if name in HOOKS and name.startswith(TRACES) == (target == "traces"):
        return HOOKS[name]
    near = get_close_matches(name, HOOKS, 1)
    raise UnknownHook(f"unknown hook {hook!r} of {target!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
