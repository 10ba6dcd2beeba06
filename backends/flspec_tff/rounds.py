"""Rounds of a plan, executed by TFF's federated averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff
from numpy.typing import NDArray

from flspec.data.store import open_data
from flspec.execution.parts import aggregator_of, client_optimizer_of, network_of
from flspec.execution.rounds import RoundResult, timed
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec_tff.client_optimizers import build_client_optimizer
from flspec_tff.clients import client_dataset, element_spec
from flspec_tff.layout import all_from_tensorflow, all_to_tensorflow
from flspec_tff.model import build_model
from flspec_tff.private_mean import PrivateAggregation
from flspec_tff.process import build_federated_averaging, build_weighted_mean
from flspec_tff.server_optimizers import build_server_optimizer, read_server_state, write_server_state

__all__ = ["FederatedAveraging"]


class FederatedAveraging:
    """TFF's process for a plan. Every round begins by setting the complete server state and the learning rates.

    A run can therefore continue from any state.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self._network = plan, network_of(plan)
        self._split = open_data(plan.settings.data).train
        self._rule = aggregator_of(plan).server_optimizer
        self._client_rule = client_optimizer_of(plan)
        self._private = PrivateAggregation.of(plan)
        cohort_size = int(np.diff(plan.arrays["round_task_ends"], prepend=0).max())
        self._process = build_federated_averaging(
            build_model(plan, element_spec(self._split, self._network), cohort_size),
            lambda learning_rate: build_client_optimizer(self._client_rule, learning_rate, plan.settings.clip),
            build_server_optimizer(self._rule),
            self._private.build if self._private else build_weighted_mean,
        )
        self._blank = self._process.initialize()

    def run_round(self, number: int, state: ServerState) -> RoundResult:
        """Execute round `number` from `state`, for `flspec.execution.rounds.drive_rounds`."""
        lap = timed()
        tasks = self.plan.cohort(number)
        datasets = [client_dataset(task, position, self._split, self._network) for position, task in enumerate(tasks)]
        output = self._process.next(self._write(number, state), datasets)
        metrics = output.metrics["client_work"]["train"]
        rejected = bool(output.metrics["finalizer"]["update_non_finite"])
        num_trained = 0 if rejected else int(metrics["num_trained"].sum())
        return RoundResult(
            state=self._read(output.state, number, state.optimizer.step + (not rejected)),
            cohort=tuple(task.client for task in tasks),
            num_trained=num_trained,
            train=_train_metrics(metrics, num_trained),
            seconds={"train": lap()},  # includes aggregation, which TFF does in the same call
            dropped=_dropped(tasks, metrics["num_trained"], rejected),
        )

    def _write(self, number: int, state: ServerState) -> tff.learning.templates.LearningAlgorithmState:
        learning_rate = self._client_rule.learning_rate * self.plan.client_rate(number)
        return self._blank._replace(
            global_model_weights=tff.learning.models.ModelWeights(all_to_tensorflow(state.weights), ()),
            client_work=np.float64(learning_rate),
            aggregator=self._private.write(number, state) if self._private else self._blank.aggregator,
            finalizer=write_server_state(
                self._rule, self._blank.finalizer, state.optimizer, self.plan.server_rate(number)
            ),
        )

    def _read(self, state: tff.learning.templates.LearningAlgorithmState, number: int, step: int) -> ServerState:
        names = list(self.plan.weights)
        return ServerState(
            round=number,
            weights=all_from_tensorflow(names, state.global_model_weights.trainable),
            optimizer=read_server_state(self._rule, state.finalizer, step, names),
            records=self._private.read(state.aggregator) if self._private else {},
        )


def _train_metrics(sums: Mapping[str, Any], num_trained: int) -> dict[str, float]:
    if not num_trained:
        return {}
    metrics = {name: float(value) / num_trained for name, value in sums.items() if name != "num_trained"}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _dropped(tasks: Sequence[ClientTask], num_trained: NDArray[np.int64], rejected: bool) -> dict[int, str]:
    """Return by position the updates that did not count: those that TFF dropped, or all if it rejected the mean."""
    reasons = {
        place: "its update is not finite" for place, num in enumerate(num_trained[: len(tasks)].tolist()) if not num
    }
    if rejected:
        return {place: reasons.get(place, "the mean update is not finite") for place in range(len(tasks))}
    return reasons
