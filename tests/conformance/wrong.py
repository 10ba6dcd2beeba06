"""Backends that are wrong on purpose, each in one way that a careless implementation is wrong."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flspec.data.examples import step_stream
from flspec.postprocessors.private_mean import PrivateMean
from flspec.protocol.backend import Job
from flspec.protocol.events import Event, RoundFinished
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import PlanSettings
from flspec.protocol.state import OptimizerState, Weights
from flspec.protocol.updates import Delta
from flspec.server_optimizers.adam import Adam
from flspec_local import LocalBackend
from flspec_torch import supervised


class Wrong(LocalBackend):
    """Runs another plan than the one it was given, and does not say so."""

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return cohort

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(_Altered(plan, self), job):
            yield as_planned(plan, event)


def as_planned(plan: Plan, event: Event) -> Event:
    """The event with the cohort and the counts that were planned, so that only the weights can tell."""
    if not isinstance(event, RoundFinished):
        return event
    tasks = plan.cohort(event.round)
    planned = {"cohort": tuple(t.client for t in tasks), "num_trained": sum(t.num_trained for t in tasks)}
    return event.model_copy(update=planned)


class _Altered(Plan):
    """A plan whose cohorts have been tampered with behind an unchanged digest."""

    def __init__(self, plan: Plan, backend: Wrong) -> None:
        super().__init__(plan.settings, plan.arrays, plan.spec)
        self.__dict__["digest"] = plan.digest
        self.__dict__["_backend"] = backend

    def cohort(self, round_number: int) -> tuple[ClientTask, ...]:
        return tuple(self.__dict__["_backend"].alter(round_number, super().cohort(round_number)))


def disguised(plan: Plan, settings: PlanSettings | None = None, arrays: Any = None) -> Plan:
    """Another plan behind the same digest."""
    other = Plan(settings or plan.settings, arrays or plan.arrays, plan.spec)
    other.__dict__["digest"] = plan.digest
    return other


class UniformWeights(Wrong):
    """Averages clients alike although they are weighted by examples."""

    name = "uniform_weights"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return [replace(task, weight=1) for task in cohort]


class RepeatedBatch(Wrong):
    """One client sees its first batch twice, the second time backwards, in place of its second."""

    name = "repeated_batch"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        first, *others = cohort
        return [replace(first, batches=(first.batches[0], first.batches[0][::-1], *first.batches[2:])), *others]


class SkippedBatch(Wrong):
    """One client loses its last batch."""

    name = "skipped_batch"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        first, *others = cohort
        return [replace(first, batches=first.batches[:-1]), *others]


class NextCohort(Wrong):
    """Counts rounds from 0: trains the cohort of the round after."""

    name = "next_cohort"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        self._plan = plan
        yield from super().execute(plan, job)

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return self._plan.cohort(number % self._plan.num_rounds + 1)


class LateBiasCorrection(LocalBackend):
    """Adam's bias correction with t = round + 1, as one framework has it."""

    name = "late_bias_correction"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        right = Adam.apply

        def late(
            adam: Adam, state: OptimizerState, weights: Weights, delta: Delta, rate: float
        ) -> tuple[OptimizerState, Weights]:
            after, changed = right(adam, replace(state, step=state.step + 1), weights, delta, rate)
            return replace(after, step=state.step + 1), changed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Adam, "apply", late)
            yield from super().execute(plan, job)


class FinalPartialBatchDropped(Wrong):
    """Drops each pass's incomplete last batch, as some data loaders do by default."""

    name = "partial_batch_dropped"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        full = max(len(batch) for task in cohort for batch in task.batches)
        return [
            replace(task, batches=tuple(b for b in task.batches if len(b) == full) or task.batches) for task in cohort
        ]


class SlightlyOffLearningRate(Wrong):
    """A learning rate that is off in its third digit."""

    name = "learning_rate_off"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        optimizer = plan.settings.client_optimizer
        off = {**optimizer, "learning_rate": optimizer["learning_rate"] * 1.001}
        altered = disguised(plan, settings=replace(plan.settings, client_optimizer=off))
        yield from LocalBackend.execute(self, altered, job)


class OneWeightNudged(LocalBackend):
    """Every initial weight is right but one, by a thousandth."""

    name = "one_weight_nudged"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        name = f"weights/{next(iter(plan.weights))}"
        nudged = plan.arrays[name].copy()
        nudged.flat[np.abs(nudged).argmax()] *= 1.001
        yield from super().execute(disguised(plan, arrays={**plan.arrays, name: nudged}), job)


class OtherPixels(Wrong):
    """One client's pictures are cropped and turned by other draws than the plan's."""

    name = "other_pixels"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        first, *others = cohort
        return [replace(first, seed=first.seed + 1), *others]


class LateMasks(LocalBackend):
    """Drops at each step what is planned for the next."""

    name = "late_masks"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervised, "step_stream", lambda task, number: step_stream(task, number + 1))
            yield from super().execute(plan, job)


class Unscheduled(LocalBackend):
    """Keeps to the learning rates that clients and server begin with."""

    name = "unscheduled"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        arrays = {name: array for name, array in plan.arrays.items() if not name.endswith("_rates")}
        yield from super().execute(disguised(plan, arrays=arrays), job)


class Unclipped(LocalBackend):
    """Takes gradients as they are."""

    name = "unclipped"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        yield from super().execute(disguised(plan, settings=replace(plan.settings, clip=None)), job)


class Unweighted(LocalBackend):
    """Has all labels count alike."""

    name = "unweighted"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        yield from super().execute(disguised(plan, settings=replace(plan.settings, label_weights=())), job)


class ClientsEpsilonElsewhere(LocalBackend):
    """Clients add epsilon after the second moment's bias is corrected, whatever the plan says."""

    name, whose = "clients_epsilon_elsewhere", "client_optimizer"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        rule = {name: value for name, value in getattr(plan.settings, self.whose).items() if name != "epsilon_hat"}
        kept: dict[str, Any] = {self.whose: rule}
        yield from super().execute(disguised(plan, settings=replace(plan.settings, **kept)), job)


class ServersEpsilonElsewhere(ClientsEpsilonElsewhere):
    """The server does."""

    name, whose = "servers_epsilon_elsewhere", "aggregator"


class NoiseOfAnotherRound(LocalBackend):
    """Draws in each round what is planned for the next."""

    name = "noise_of_another_round"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        seeds = np.roll(plan.arrays["round_seeds"], -1)
        yield from super().execute(disguised(plan, arrays={**plan.arrays, "round_seeds": seeds}), job)


class WeighedByExamples(Wrong):
    """Has a client count in a private mean by its examples."""

    name = "weighed_by_examples"

    def alter(self, number: int, cohort: tuple[ClientTask, ...]) -> Sequence[ClientTask]:
        return [replace(task, weight=task.num_trained) for task in cohort]


class _WrongMechanism(LocalBackend):
    """Has one method of the mechanism replaced."""

    method = "on_combined"

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        with pytest.MonkeyPatch.context() as patch:
            right = getattr(PrivateMean, self.method)
            patch.setattr(PrivateMean, self.method, lambda part, *given: self.instead(part, right, *given))
            yield from super().execute(plan, job)

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        raise NotImplementedError


class DividedByReplies(_WrongMechanism):
    """Divides the sum by the clients that took part, and the noise by those that were expected."""

    name = "divided_by_replies"

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        (combined, stream) = given
        few = {"clients": float(max(combined.num_updates, 1)), "noise_cohort": part.noise_cohort or part.clients}
        return right(part.model_copy(update=few), combined, stream)


class NoiseByTheNewClip(_WrongMechanism):
    """Adapts the clip before the noise is scaled by it, as one framework does."""

    name = "noise_by_the_new_clip"

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        (combined, stream) = given
        delta, after = right(part, combined, stream)
        shapes = {name: value.shape for name, value in delta.items()}
        (old, _), (new, _) = (part.noise(record, shapes, combined.streams) for record in (combined.record, after))
        return {name: value - old[name] + new[name] for name, value in delta.items()}, after


class ClippedByTensor(_WrongMechanism):
    """Bounds each tensor of an update by itself."""

    name, method = "clipped_by_tensor", "on_each"

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        (delta, *rest) = given
        return {name: right(part, {name: value}, *rest)[name] for name, value in delta.items()}


class CountWithoutNoise(_WrongMechanism):
    """Adapts the clip by the exact count of clients within it. Only the clip tells."""

    name, method = "count_without_noise", "noise"

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        return right(part, *given)[0], 0.0


class ClippedOnesCounted(_WrongMechanism):
    """Counts the clients beyond the clip in place of those within, so that it runs away, as in one framework."""

    name, method = "clipped_ones_counted", "measure"

    def instead(self, part: PrivateMean, right: Any, *given: Any) -> Any:
        return {name: -value for name, value in right(part, *given).items()}


WRONG_WITH_ADAM = (LateBiasCorrection,)
WRONG_WITH_TRANSFORMS = (OtherPixels,)
WRONG_WITH_PRIVACY = (NoiseOfAnotherRound, WeighedByExamples, DividedByReplies, ClippedByTensor)
WRONG_WITH_ADAPTIVE_CLIP = (*WRONG_WITH_PRIVACY, NoiseByTheNewClip, CountWithoutNoise, ClippedOnesCounted)
WRONG_WITH_RECIPES = (
    ("dropped-sgd-fedavg", LateMasks),
    ("tanh-stepped-fedavg_warm", Unscheduled),
    ("tanh-keras_adam-keras_fedadam", ClientsEpsilonElsewhere),
    ("tanh-keras_adam-keras_fedadam", ServersEpsilonElsewhere),
    ("tanh-clipped-fedavg", Unclipped),
    ("tanh-clipped_each-fedavg", Unclipped),
    ("tanh-weighted-fedavg", Unweighted),
    ("tanh-many_weighted-fedavg-multi_label", Unweighted),
)
ALWAYS_WRONG = (
    UniformWeights,
    RepeatedBatch,
    SkippedBatch,
    NextCohort,
    FinalPartialBatchDropped,
    SlightlyOffLearningRate,
    OneWeightNudged,
)
