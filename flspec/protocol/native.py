"""An engine's own algorithm in place of flspec's definition: what a backend declares, and what a plan asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flspec.protocol.plan import Plan

__all__ = ["Native", "definition_of", "is_native", "native_refusals"]

_FIELD, _NATIVE = "implementation", "native"  # of an aggregator's document


@dataclass(frozen=True)
class Native:
    """An engine's own algorithm for a kind of aggregator."""

    title: str  # in words: "Flower's FedAdam"
    # By the aggregator's field: the one value, as JSON, that the algorithm has no other of; None: the field is absent.
    only: Mapping[str, Any] = field(default_factory=dict)
    has_schedule: bool = True  # its learning rate may change from round to round

    @property
    def in_words(self) -> str:
        """Say which it is, and what an aggregator's fields must be."""
        said = [f"{name}: {json.dumps(value)}" for name, value in self.only.items() if value is not None]
        absent = [name for name, value in self.only.items() if value is None]
        absent += [] if self.has_schedule else ["schedule"]
        needs = [*(["with " + ", ".join(said)] if said else []), *(["without " + ", ".join(absent)] if absent else [])]
        return " ".join([self.title, *needs])


def is_native(plan: Plan) -> bool:
    """Return whether a plan asks for the engine's own algorithm."""
    return plan.settings.aggregator.get(_FIELD) == _NATIVE


def definition_of(plan: Plan) -> Plan:
    """Return the same experiment by flspec's definition."""
    document = {key: value for key, value in plan.settings.aggregator.items() if key != _FIELD}
    return replace(plan, settings=replace(plan.settings, aggregator=document))


def native_refusals(plan: Plan, backend: str, natives: Mapping[str, Native]) -> Iterator[str]:
    """Yield why a backend has no algorithm of its own for what a plan asks for, field first."""
    if not is_native(plan):
        return
    document = plan.settings.aggregator
    if (own := natives.get(document["kind"])) is None:
        known = f" for {document['kind']}, only for {', '.join(natives)}" if natives else ""
        yield (
            f"aggregator.implementation: native, but {backend} has no algorithm of its own{known}; remove it, or "
            "choose another backend"
        )
        return
    if not own.has_schedule and "server_rates" in plan.arrays:
        yield f"aggregator.schedule: {own.title} has one learning rate; remove it, or implementation: native"
    for name, value in own.only.items():
        if (given := document.get(name)) != value:
            written = "not given" if given is None else json.dumps(given)
            only = "does not know it; remove it" if value is None else f"has only {json.dumps(value)}; write that"
            yield f"aggregator.{name}: {written}, but {own.title} {only}, or remove implementation: native"
