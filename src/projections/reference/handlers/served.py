"""Who serves a component: noted with its entry, as a fallback may change it for the turns to come."""

from __future__ import annotations

from typing import TypeVar

from projections.reference.metrics import Component
from projections.reference.state import State

C = TypeVar("C", bound=Component)


def served(s: State, component: str, entry: C) -> C:
    """The entry, with the provider and model that serve the component now (switch ``providers_of_turn``)."""
    if s.rules.providers_of_turn:
        provider = s.session.provider_per_component.get(component)
        if provider is not None:
            entry.provider_class, entry.model_name = provider["provider_class"], provider["model_name"]
    return entry
