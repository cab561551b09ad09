"""Rule sets: under which rules a log is read.

A rule set is a named, frozen set of switches; each switch is one documented deviation from the reference, and off in
``videosdk-1.0``, which is the reference to the last digit. There is no deviation yet, so that is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from eventstore.errors import TurnlogError


class UnknownRules(TurnlogError):
    """There is no rule set of that name."""


class Rules(msgspec.Struct, frozen=True):
    name: str


VIDEOSDK_1_0 = Rules("videosdk-1.0")
"""What ``videosdk-agents==1.0.2`` does, quirks included."""

RULE_SETS: Mapping[str, Rules] = MappingProxyType({VIDEOSDK_1_0.name: VIDEOSDK_1_0})


def find(rules: str | Rules) -> Rules:
    """The rule set of that name. Raises `UnknownRules`, naming those there are."""
    if isinstance(rules, Rules):
        return rules
    try:
        return RULE_SETS[rules]
    except KeyError:
        raise UnknownRules(f"unknown rule set {rules!r}; there are: {', '.join(RULE_SETS)}") from None
