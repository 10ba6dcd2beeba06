"""What this process and a worker process say to each other: numbers and places, never arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from flspec.protocol.plan import Plan
from flspec.protocol.settings import PlanSettings, read_settings
from flspec_local.shared import Stored

__all__ = ["READY", "Packed", "Part", "Sent", "packed", "unpacked"]

READY = "ready"  # the first thing that a worker says

Packed = tuple[Any, Mapping[str, NDArray[Any]], Mapping[str, Any], bytes]  # a plan, as it is pickled


class Sent(NamedTuple):
    """What the server sends to every client of a round: the weights and the records beside them."""

    stored: Stored  # in the memory that all workers read


class Part(NamedTuple):
    """Neighbouring tasks of a round. The answer says where their updates are; None: they cannot be trained there."""

    round: int
    first: int  # position in the cohort
    end: int
    client_states: Stored | None  # of each task, in the worker's own memory; None: there are none
    room: tuple[int, int]  # where in that memory the updates are to be written


def packed(plan: Plan) -> Packed:
    """Return what a plan is made of."""
    return plan.document, dict(plan.arrays), dict(plan.spec), plan.noise_key


def unpacked(parts: Packed) -> Plan:
    """Return the plan that is made of these."""
    document, arrays, spec, noise_key = parts
    return Plan(read_settings(PlanSettings, document), arrays, spec, noise_key)
