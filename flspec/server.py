"""The server's half of a round, in numpy: one definition for every backend that has none of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flspec.aggregators import Aggregator
from flspec.state import ServerState, Weights
from flspec.updates import ClientUpdate

__all__ = ["RoundOutcome", "finish_round"]


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
