"""A round's server step by Flower's own strategy, through its `configure_train` and `aggregate_train`.

A strategy is made for each round, from the state before it: Flower's keep theirs in attributes, and a round must be
able to begin from any state. What it keeps is float32 between rounds, as all of a state is. (Flower's FedAdam itself
goes on in float64, since numpy makes its weights so in the first round.)

A client's reply has its weights, the server's plus its update, and the examples that it counts for. Replies come in
client order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as strategies
from numpy.typing import NDArray

from flspec.aggregators import WeightedAggregator
from flspec.execution.native import NativeStep
from flspec.execution.parts import aggregator_of
from flspec.protocol.native import is_native
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState, Weights
from flspec.protocol.updates import ClientUpdate
from flspec_flower.natives import NATIVES

__all__ = ["strategy_step"]

_NO_MINIMUM = {"min_train_nodes": 0, "min_evaluate_nodes": 0, "min_available_nodes": 0}


def strategy_step(plan: Plan) -> NativeStep | None:
    """Return the step of Flower's own strategy; None if the plan does not ask for it."""
    return _StrategyStep(plan) if is_native(plan) else None


class _StrategyStep:
    def __init__(self, plan: Plan) -> None:
        self._plan, self._aggregator = plan, aggregator_of(plan)
        self._own = NATIVES[plan.settings.aggregator["kind"]]

    def __call__(
        self, state: ServerState, updates: Sequence[ClientUpdate]
    ) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
        number, arguments = state.round + 1, self._own.arguments(self._plan.settings.aggregator, len(updates))
        strategy = getattr(strategies, self._own.name)(**arguments, **_NO_MINIMUM)
        self._restore(strategy, state)
        # It takes note of the weights. The cohort is the plan's, so there are no nodes for it to sample from.
        nobody: Any = _Nobody()
        strategy.configure_train(number, _record(state.weights), ConfigRecord(), nobody)
        arrays, _ = strategy.aggregate_train(number, [self._reply(number, state, update) for update in updates])
        if arrays is None:  # it left the round out
            return state.optimizer, dict(state.weights)
        weights = {name: arrays[name].numpy().astype(np.float32) for name in state.weights}
        return OptimizerState(state.optimizer.step + 1, self._kept(strategy, state)), weights

    def _restore(self, strategy: Any, state: ServerState) -> None:
        """Give the strategy what it kept after the round before."""
        for slot, (attribute, sign) in self._slots(state).items():
            tensors = {name: sign * value for name, value in state.optimizer.slots[slot].items()}
            setattr(strategy, attribute, list(tensors.values()) if sign < 0 else tensors)

    def _kept(self, strategy: Any, state: ServerState) -> dict[str, Weights]:
        """Invert `_restore`."""
        kept: dict[str, Weights] = {}
        for slot, (attribute, sign) in self._slots(state).items():
            given = getattr(strategy, attribute)
            tensors = given if isinstance(given, dict) else dict(zip(state.weights, given, strict=True))
            kept[slot] = {name: (sign * tensors[name]).astype(np.float32) for name in state.weights}
        return kept

    def _slots(self, state: ServerState) -> dict[str, tuple[str, int]]:
        return {slot: self._own.slots[slot] for slot in state.optimizer.slots}

    def _reply(self, number: int, state: ServerState, update: ClientUpdate) -> Message:
        """Return the message in which a client of Flower's would send its weights and the number of its examples."""
        after = {name: before + update.delta[name] for name, before in state.weights.items()}
        counted = MetricRecord({"num-examples": self._num_examples(number, update)})
        content = RecordDict({"arrays": _record(after), "metrics": counted})
        return Message(content, dst_node_id=update.client + 1, message_type="train")

    def _num_examples(self, number: int, update: ClientUpdate) -> int:
        """Return what the plan weighs a client by; of rules in which all count alike, the examples that it trains on.

        Flower's Multi-Krum weighs by them, too.
        """
        if isinstance(self._aggregator, WeightedAggregator):
            return int(update.weight)
        tasks = self._plan.cohort(number)
        return next(t.num_examples for t in tasks if (t.client, t.repeat) == (update.client, update.repeat))


class _Nobody:
    """A grid without nodes."""

    def get_node_ids(self) -> list[int]:
        return []


def _record(tensors: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value, np.float32)) for name, value in tensors.items()})
