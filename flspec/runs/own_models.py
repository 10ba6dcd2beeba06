"""The tensors that each client has for itself: parts of the model that stay with it, or a whole model of its own."""

from __future__ import annotations

from flspec.execution.parts import client_algorithm_of
from flspec.execution.server_step import learned_weights
from flspec.protocol.named_records import Records, Weights
from flspec.protocol.plan import Plan

__all__ = ["first_own_tensors", "own_records", "own_tensors"]


def own_records(plan: Plan) -> tuple[str, ...]:
    """Return the records of a client's state that have such tensors; none if all clients have one model."""
    personal = client_algorithm_of(plan).personal
    return (*(["weights"] if plan.local else []), *([personal] if personal else []))


def own_tensors(plan: Plan, records: Records) -> Weights:
    """Return those in a client's state."""
    return {name: value for record in own_records(plan) for name, value in records.get(record, {}).items()}


def first_own_tensors(plan: Plan) -> Weights:
    """Return those before a client's first round, which one that never takes part goes on having."""
    return {**plan.local, **(learned_weights(plan) if client_algorithm_of(plan).personal else {})}
