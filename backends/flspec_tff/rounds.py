"""Rounds of a plan, executed by TFF's federated averaging."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff
from numpy.typing import NDArray

from flspec.data.examples import Split
from flspec.data.store import open_data
from flspec.execution.native import deviation_between
from flspec.execution.parts import aggregator_of, client_optimizer_of, learned_weights, network_of
from flspec.execution.rounds import RoundResult, timed
from flspec.execution.server_step import finish_round
from flspec.protocol.events import NOT_FINITE, Deviation
from flspec.protocol.native import definition_of, is_native
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec_tff.client_optimizers import build_client_optimizer
from flspec_tff.clients import Planned, client_dataset, element_spec, masks_for
from flspec_tff.collecting import build_collecting_mean, read_updates
from flspec_tff.layout import all_from_tensorflow, all_to_tensorflow
from flspec_tff.model import build_model
from flspec_tff.own_training import train_program
from flspec_tff.phases import Phases
from flspec_tff.private_mean import PrivateAggregation
from flspec_tff.process import (
    ClientTraining,
    build_federated_averaging,
    build_weighted_mean,
    train_functional_model,
)
from flspec_tff.program import OneLoss
from flspec_tff.server_optimizers import build_server_optimizer, read_server_state, write_server_state

__all__ = ["FederatedAveraging"]


class FederatedAveraging:
    """TFF's process for a plan. Every round begins by setting the complete server state and the learning rates.

    A run can therefore continue from any state.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self._learned = plan, list(learned_weights(plan))
        self._split = open_data(plan.settings.data).train
        self._rule = aggregator_of(plan).server_optimizer
        self._private = PrivateAggregation.of(plan)
        cohort_size = int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
        is_own = plan.settings.phases or plan.settings.statistics
        build_training = _training_by_program if is_own else _training_of_tff
        train, self._planned, element = build_training(plan, self._split, cohort_size)
        self._process = build_federated_averaging(
            all_to_tensorflow(plan.weights),
            train,
            element,
            build_server_optimizer(self._rule, [name in self._learned for name in plan.weights], is_native(plan)),
            self._build_aggregation(),
        )
        self._blank = self._process.initialize()

    def _build_aggregation(self) -> Callable[[Any], tff.templates.AggregationProcess]:
        if self._private:
            return self._private.build
        return build_collecting_mean if is_native(self.plan) else build_weighted_mean

    def run_round(self, number: int, state: ServerState) -> RoundResult:
        """Execute round `number` from `state`, for `flspec.execution.rounds.drive_rounds`."""
        lap = timed()
        tasks = self.plan.cohort(number)
        datasets = [client_dataset(task, position, self._split, self._planned) for position, task in enumerate(tasks)]
        output = self._process.next(self._write(number, state), datasets)
        metrics = output.metrics["client_work"]["train"]
        rejected = bool(output.metrics["finalizer"]["update_non_finite"])
        num_trained = 0 if rejected else int(metrics["num_trained"].sum())
        after = self._read(output.state, number, state.optimizer.step + (not rejected))
        return RoundResult(
            state=after,
            cohort=tuple(task.client for task in tasks),
            num_trained=num_trained,
            train=_train_metrics(metrics["sums"], num_trained),
            seconds={"train": lap()},  # includes aggregation, which TFF does in the same call
            dropped=_dropped(tasks, metrics["num_trained"], rejected),
            clients={"trained": [float(num) for num in metrics["num_trained"][: len(tasks)]]},
            deviation=self._deviation(state, after, output.metrics["aggregator"]) if is_native(self.plan) else None,
        )

    def _deviation(self, before: ServerState, after: ServerState, rows: NDArray[np.float32]) -> Deviation:
        """Return how far TFF's step is from flspec's of the same updates, which an aggregation has collected."""
        defined = finish_round(definition_of(self.plan), before, read_updates(self.plan, rows)).state
        return deviation_between(self.plan, before.weights, defined.weights, after.weights)

    def _write(self, number: int, state: ServerState) -> tff.learning.templates.LearningAlgorithmState:
        return self._blank._replace(
            global_model_weights=tff.learning.models.ModelWeights(all_to_tensorflow(state.weights), ()),
            client_work=np.float64(self.plan.client_rate(number)),
            aggregator=self._private.write(number, state) if self._private else self._blank.aggregator,
            finalizer=write_server_state(
                self._rule, self._blank.finalizer, state.optimizer, self.plan.server_rate(number)
            ),
        )

    def _read(self, state: tff.learning.templates.LearningAlgorithmState, number: int, step: int) -> ServerState:
        return ServerState(
            round=number,
            weights=all_from_tensorflow(list(self.plan.weights), state.global_model_weights.trainable),
            optimizer=read_server_state(self._rule, state.finalizer, step, self._learned),
            records=self._private.read(state.aggregator) if self._private else {},
        )


def _training_of_tff(plan: Plan, split: Split, cohort_size: int) -> tuple[ClientTraining, Planned, Any]:
    """Return a client's training by TFF's own loop, the draws of a step, and the type of a dataset's elements."""
    planned, rule = masks_for(network_of(plan)), client_optimizer_of(plan)
    element = element_spec(split, planned)
    train = train_functional_model(
        build_model(plan, element, cohort_size),
        lambda rate: build_client_optimizer(rule, rule.learning_rate * rate, plan.settings.clip),
    )
    return train, planned, element


def _training_by_program(plan: Plan, split: Split, cohort_size: int) -> tuple[ClientTraining, Planned, Any]:
    """Return the same by a loop of flspec's own, for phases and for running statistics, which TFF's leaves alone."""
    program = (Phases if plan.settings.phases else OneLoss)(plan, cohort_size)
    return train_program(program), program.planned, element_spec(split, program.planned)


def _train_metrics(sums: Mapping[str, Any], num_trained: int) -> dict[str, float]:
    if not num_trained:
        return {}
    metrics = {name: float(value) / num_trained for name, value in sums.items()}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _dropped(tasks: Sequence[ClientTask], num_trained: NDArray[np.int64], rejected: bool) -> dict[int, str]:
    """Return by position the updates that did not count: those that TFF dropped, or all if it rejected the mean."""
    reasons = {place: NOT_FINITE for place, num in enumerate(num_trained[: len(tasks)].tolist()) if not num}
    if rejected:
        return {place: reasons.get(place, "the mean update is not finite") for place in range(len(tasks))}
    return reasons
