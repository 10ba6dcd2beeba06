"""The server's half of a round, in numpy: one definition for every backend that has none of its own.

Sums are float64 and in client order, because floating-point sums depend on order and replies arrive in any; that
is what makes two backends agree to the last bit. What is stored between rounds is float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flspec.state import ServerState, Weights

if TYPE_CHECKING:
    from flspec.aggregators import Aggregator

__all__ = ["ClientUpdate", "Delta", "RoundOutcome", "finish_round", "map_tensors", "weighted_mean"]

Delta = Mapping[str, NDArray[np.float64]]  # a change of the weights, by tensor name


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """What one client sends back after its local training."""

    client: int
    delta: Weights  # weights after training minus weights received
    weight: float  # its planned share of the mean, before normalising
    num_trained: int  # examples trained on, counted each time
    loss_sum: float  # over those examples, each measured before the step it took part in
    num_correct: int  # of those examples


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """A finished round as the server sees it."""

    state: ServerState
    train: dict[str, float]  # loss and accuracy over every example trained on by the clients that count
    dropped: dict[int, str]  # clients whose update did not count, and why


def finish_round(aggregator: Aggregator, state: ServerState, updates: Sequence[ClientUpdate]) -> RoundOutcome:
    """Turn a cohort's updates into the next server state.

    An update holding a value that is not finite is left out, as is its share of the metrics. If none is left the
    server keeps its weights and its optimizer's state.
    """
    finite = [update for update in sorted(updates, key=lambda u: u.client) if _is_finite(update.delta)]
    counted = {update.client for update in finite}
    dropped = {u.client: "its update is not finite" for u in updates if u.client not in counted}
    if not finite:
        return RoundOutcome(ServerState(state.round + 1, state.weights, state.optimizer), {}, dropped)
    optimizer, weights = aggregator.server_optimizer.apply(state.optimizer, state.weights, aggregator.combine(finite))
    return RoundOutcome(ServerState(state.round + 1, weights, optimizer), _train_metrics(finite), dropped)


def weighted_mean(updates: Sequence[ClientUpdate]) -> Delta:
    """sum_k weight_k * delta_k / sum_k weight_k, in float64 and in the order given."""
    total = sum(update.weight for update in updates)
    mean = {name: np.zeros(value.shape) for name, value in updates[0].delta.items()}
    for update in updates:
        for name, value in update.delta.items():
            mean[name] += (update.weight / total) * value.astype(np.float64)
    return mean


def map_tensors(
    function: Callable[..., NDArray[np.float64]], *trees: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[np.float64]]:
    """Apply `function` to the tensors of the same name in each of `trees`."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def _train_metrics(updates: Sequence[ClientUpdate]) -> dict[str, float]:
    """Those that are finite: a loss can overflow where the update does not."""
    num_trained = sum(update.num_trained for update in updates)
    metrics = {
        "loss": sum(update.loss_sum for update in updates) / num_trained,
        "accuracy": sum(update.num_correct for update in updates) / num_trained,
    }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _is_finite(delta: Weights) -> bool:
    return all(bool(np.isfinite(value).all()) for value in delta.values())
