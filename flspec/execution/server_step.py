"""The server's half of a round, in numpy: one definition for every backend that has none of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flspec.execution.parts import aggregator_of
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate

__all__ = ["RoundOutcome", "finish_round"]


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """A finished round as the server sees it."""

    state: ServerState
    train: dict[str, float]  # loss and accuracy over every example trained on by the clients that count
    dropped: dict[int, str]  # clients whose update did not count, and why


def finish_round(plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]) -> RoundOutcome:
    """Turn a cohort's updates into the next server state.

    An update holding a value that is not finite is left out, as is its share of the metrics and what the client would
    have kept. If none is left the server keeps its weights and its optimizer's state.
    """
    finite = [update for update in sorted(updates, key=lambda u: u.client) if _is_finite(update)]
    counted = {update.client for update in finite}
    dropped = {u.client: "its update is not finite" for u in updates if u.client not in counted}
    if not finite:
        return RoundOutcome(replace(state, round=state.round + 1), {}, dropped)
    optimizer, weights = _step(plan, state, finite)
    clients = dict(state.clients) | {update.client: update.kept for update in finite if update.kept}
    return RoundOutcome(ServerState(state.round + 1, weights, optimizer, clients), _train_metrics(finite), dropped)


def _step(
    plan: Plan, state: ServerState, updates: Sequence[ClientUpdate]
) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
    """The server optimizer's state and all weights after one more update; statistics take the mean as it is."""
    aggregator = aggregator_of(plan)
    delta = aggregator.combine(updates)
    learned = {name: weight for name, weight in state.weights.items() if name not in plan.statistics}
    optimizer, stepped = aggregator.server_optimizer.apply(
        state.optimizer, learned, delta, plan.server_rate(state.round + 1)
    )
    return optimizer, {
        name: stepped[name] if name in stepped else (weight + delta[name]).astype(np.float32)
        for name, weight in state.weights.items()
    }


def _train_metrics(updates: Sequence[ClientUpdate]) -> dict[str, float]:
    """Those that are finite: a loss can overflow where the update does not."""
    num_trained = sum(update.num_trained for update in updates)
    metrics = {
        "loss": sum(update.loss_sum for update in updates) / num_trained,
        "accuracy": sum(update.num_correct for update in updates) / num_trained,
    }
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _is_finite(update: ClientUpdate) -> bool:
    return all(bool(np.isfinite(value).all()) for value in (*update.delta.values(), *update.kept.values()))
