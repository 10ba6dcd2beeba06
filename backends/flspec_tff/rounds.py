"""A plan's rounds as those of TFF's federated averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff
from numpy.typing import NDArray

from flspec.aggregators import Aggregator
from flspec.backend import RoundResult, timed
from flspec.client_optimizers import ClientOptimizer
from flspec.components import parse_component
from flspec.layers import parse_layers
from flspec.plan import ClientTask, Plan
from flspec.state import ServerState
from flspec.store import open_data
from flspec_tff.clients import client_dataset, element_spec
from flspec_tff.layout import from_tensorflow, to_tensorflow, weight_layouts
from flspec_tff.model import build_forward, build_model
from flspec_tff.optimizers import build_client_optimizer, build_server_optimizer, read_server_state, write_server_state

__all__ = ["FederatedAveraging"]


class FederatedAveraging:
    """`build_weighted_fed_avg` (McMahan et al., AISTATS 2017, Algorithm 1) with TFF's own weighting, mean and server.

    Every round begins by giving TFF the server's whole state, so any state can be gone on from.
    """

    def __init__(self, plan: Plan) -> None:
        layers, input_shape = parse_layers(plan.settings["layers"]), tuple(plan.settings["data"]["input_shape"])
        self._plan = plan
        self._split = open_data(plan.settings["data"]).train
        self._layouts = weight_layouts(layers, input_shape)
        self._rule = parse_component(Aggregator, plan.settings["aggregator"]).server_optimizer
        model = build_model(
            plan.weights,
            self._layouts,
            build_forward(layers, input_shape),
            element_spec(self._split),
            cohort_size=int(np.diff(plan.arrays["round_task_ends"], prepend=0).max()),
        )
        client_optimizer = parse_component(ClientOptimizer, plan.settings["client_optimizer"])
        self._process = tff.learning.algorithms.build_weighted_fed_avg(
            model,
            build_client_optimizer(client_optimizer),
            build_server_optimizer(self._rule),
            client_weighting=tff.learning.ClientWeighting.NUM_EXAMPLES,
            # Half the time of the default, dataset.reduce, for clients of a few batches.
            loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
        )
        self._blank = self._process.initialize()

    def run_round(self, number: int, state: ServerState) -> RoundResult:
        """Train round `number` from `state`, as `flspec.backend.drive_rounds` asks."""
        lap = timed()
        tasks = self._plan.cohort(number)
        datasets = [client_dataset(task, position, self._split) for position, task in enumerate(tasks)]
        output = self._process.next(self._write(state), datasets)
        metrics = output.metrics["client_work"]["train"]
        rejected = bool(output.metrics["finalizer"]["update_non_finite"])
        num_trained = 0 if rejected else int(metrics["num_trained"].sum())
        return RoundResult(
            state=self._read(output.state, number, state.optimizer.step + (not rejected)),
            cohort=tuple(task.client for task in tasks),
            num_trained=num_trained,
            train=_train_metrics(metrics, num_trained),
            seconds={"train": lap()},  # and aggregation, which TFF does in the same call
            dropped=_dropped(tasks, metrics["num_trained"], rejected),
        )

    def _write(self, state: ServerState) -> tff.learning.templates.LearningAlgorithmState:
        return self._blank._replace(
            global_model_weights=tff.learning.models.ModelWeights(to_tensorflow(self._layouts, state.weights), ()),
            finalizer=write_server_state(self._rule, self._blank.finalizer, state.optimizer, self._layouts),
        )

    def _read(self, state: tff.learning.templates.LearningAlgorithmState, number: int, step: int) -> ServerState:
        return ServerState(
            round=number,
            weights=from_tensorflow(self._layouts, state.global_model_weights.trainable),
            optimizer=read_server_state(self._rule, state.finalizer, step, self._layouts),
        )


def _train_metrics(sums: Mapping[str, Any], num_trained: int) -> dict[str, float]:
    if not num_trained:
        return {}
    metrics = {"loss": float(sums["loss_sum"]) / num_trained, "accuracy": int(sums["num_correct"]) / num_trained}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _dropped(tasks: Sequence[ClientTask], num_trained: NDArray[np.int64], rejected: bool) -> dict[int, str]:
    """The clients that did not count: those that TFF left out, or all if it rejected the mean of the others too."""
    reasons = {
        task.client: "its update is not finite"
        for task, num in zip(tasks, num_trained[: len(tasks)], strict=True)
        if not num
    }
    if rejected:
        return {task.client: reasons.get(task.client, "the mean update is not finite") for task in tasks}
    return reasons
