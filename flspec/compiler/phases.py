"""The planned steps of a client: the phases that an objective writes, and the optimizer of each player."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flspec.client_optimizers import ClientOptimizer
from flspec.compiler.modes import keeps
from flspec.compiler.networks import Networks
from flspec.core.randomness import Stream
from flspec.errors import Problem, SpecError
from flspec.layers import Shape, Tensor
from flspec.objectives.supervised import Supervised
from flspec.phases import Phase, check_phases, check_sample
from flspec.spec.spec import Spec

__all__ = ["count_slot_values", "planned_phases", "planned_steps"]


def planned_phases(spec: Spec, networks: Networks, shape: Shape) -> tuple[Phase, ...]:
    """Return the phases of a step, checked; none if a step is of one loss. `shape` is an example's."""
    objective = spec.client.objective
    if not objective.has_phases:
        return ()
    phases = tuple(objective.phases(networks))
    try:
        check_phases(phases, networks, objective.players, shape)
        if (sample := objective.sample(networks)) is None:
            raise ValueError("it has no `sample`, so nothing of the model could be evaluated")
        check_sample(sample, networks, shape)
    except ValueError as error:
        name = f"{objective.kind} with model {spec.model.kind}"  # type: ignore[attr-defined]
        raise SpecError([Problem(f"{name} cannot be carried out: {error}", "client.objective")]) from None
    return phases


def planned_steps(spec: Spec, networks: Networks, phases: Sequence[Phase], stream: Stream) -> dict[str, Any]:
    """Return the plan's settings of a client's step: its loss and optimizer, or its phases and optimizers.

    `stream` is of the pictures that are evaluated.
    """
    work, objective = spec.client, spec.client.objective
    if not phases:
        return {
            "loss": work.loss.model_dump(mode="json"),
            "client_optimizer": _document(spec, work.optimizer),
            "objective": None if objective == Supervised() else objective.model_dump(mode="json"),
        }
    sample = objective.sample(networks)
    return {
        "phases": tuple(phase.model_dump(mode="json") for phase in phases),
        "optimizers": _optimizers(spec),
        "sample": sample.model_dump(mode="json") if sample else None,
        "image_seed": int(stream.words(1)[0] >> np.uint64(1)),
    }


def _optimizers(spec: Spec) -> dict[str, Mapping[str, Any]]:
    named, rest = spec.client.optimizers, spec.client.optimizer
    return {
        player: _document(spec, named.get(player, rest)) | {"networks": list(networks)}
        for player, networks in spec.client.objective.players.items()
    }


def count_slot_values(spec: Spec, parameters: Mapping[str, Tensor]) -> int:
    """Count the values of the optimizers' slots that one client keeps from round to round."""
    named, rest, count = spec.client.optimizers, spec.client.optimizer, 0
    for player, networks in spec.client.objective.players.items():
        if keeps(spec, optimizer := named.get(player, rest)):
            prefixes = tuple(f"{name}." if name else "" for name in networks)
            sizes = [math.prod(t.shape) for name, t in parameters.items() if t.is_learned and name.startswith(prefixes)]
            count += len(optimizer.initial_slots()) * sum(sizes)
    return count


def _document(spec: Spec, optimizer: ClientOptimizer) -> dict[str, Any]:
    """Return a client optimizer's document. A schedule by rounds is left out: the plan has its rates."""
    planned = optimizer.schedule is None or optimizer.schedule.is_planned
    document = optimizer.model_dump(mode="json", exclude={"state"} | ({"schedule"} if planned else set()))
    remembers = bool(optimizer.initial_slots()) or not planned
    return document | ({"state": "kept"} if keeps(spec, optimizer) and remembers else {})
