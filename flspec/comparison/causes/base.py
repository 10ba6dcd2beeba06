"""What every cause is asked, and the round that it is asked about."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from flspec.protocol.named_records import Weights
from flspec.protocol.packing import pack_rounds
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import PlanSettings
from flspec.protocol.state import ServerState

__all__ = ["AlteredPlan", "Cause", "Guess", "Scene", "distance", "with_cohort", "with_settings"]

Run = Callable[[Plan, ServerState], Weights]


@dataclass(frozen=True, eq=False)
class Scene:
    """The first round in which a backend's weights are not the reference's, both from the same state."""

    plan: Plan
    number: int  # of the round, from 1
    before: ServerState
    ours: Weights  # after the round: the reference's
    theirs: Weights  # the backend's
    run: Run  # the reference's weights after round `number` of another plan, from some state
    run_from_start: Callable[[Plan], Weights]  # the same, after all rounds before it
    position: int | None = None  # in the cohort, of the one task that differs by itself; None: not known, or several

    @property
    def cohort(self) -> tuple[ClientTask, ...]:
        return self.plan.cohort(self.number)

    def left_by(self, guess: Weights) -> float:
        """Return what share of the difference a guess leaves unexplained: 0 if it gives the backend's weights."""
        whole = self.apart(self.ours, self.theirs)
        return self.apart(guess, self.theirs) / whole if whole else math.inf

    def apart(self, first: Weights, second: Weights) -> float:
        """Return a distance of weights in which those with gradients and those without count alike."""
        return distance(first, second, self.scales)

    @cached_property
    def scales(self) -> Mapping[str, float]:
        """By tensor, the largest movement in the round of any weight that has gradients, or of any that has none."""
        moved = {name: _largest(self.ours[name] - value) for name, value in self.before.weights.items()}
        groups = {name: name in self.plan.statistics for name in moved}
        largest = {group: max(moved[name] for name in moved if groups[name] == group) for group in set(groups.values())}
        return {name: largest[group] or 1.0 for name, group in groups.items()}


@dataclass(frozen=True, eq=False)
class Guess:
    """The weights after the round, had this been done in it, and what exactly that is, if the cause leaves it open."""

    weights: Weights
    detail: str = ""


class Cause(ABC):
    """Something that engines are known to do otherwise."""

    name: ClassVar[str]
    words: ClassVar[str]  # "clients count alike in the mean"

    @abstractmethod
    def guesses(self, scene: Scene) -> Iterator[Guess]:
        """Yield what the round would have given, in each way in which this can be done; none where it cannot."""


class AlteredPlan(Cause):
    """A cause that is the reference carrying out another plan in this round."""

    @abstractmethod
    def altered(self, scene: Scene) -> Iterator[Plan]:
        """Yield plans that differ from the scene's; none where this changes nothing."""

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        return (Guess(scene.run(plan, scene.before)) for plan in self.altered(scene))


def with_settings(plan: Plan, **changes: object) -> Plan:
    """Return a plan with other settings."""
    settings: PlanSettings = replace(plan.settings, **changes)  # type: ignore[arg-type]  # by their names
    return replace(plan, settings=settings)


def with_cohort(plan: Plan, number: int, tasks: Sequence[ClientTask]) -> Plan:
    """Return a plan that ends with round `number`, has these tasks in it, and none in the rounds before."""
    arrays = {name: value for name, value in plan.arrays.items() if name not in ("task_seeds", "task_faults")}
    packed = pack_rounds([*([()] * (number - 1)), tasks], holds_batches=True)
    return replace(with_settings(plan, batch_rule=None), arrays=arrays | packed)


def distance(first: Weights, second: Weights, scales: Mapping[str, float]) -> float:
    """Return the Euclidean distance of weights, each tensor divided by its scale."""
    parts = ((first[name].astype(np.float64) - second[name]) / scale for name, scale in scales.items())
    found = math.sqrt(sum(float(np.vdot(part, part)) for part in parts))
    return found if math.isfinite(found) else math.inf


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0))
