"""Which plans TFF's own processes aggregate, decided without importing TensorFlow.

In the others TFF hands over each client's update; see `separate_updates`.
"""

from __future__ import annotations

from flspec.execution.parts import aggregator_of, keeps_optimizer, players_of
from flspec.protocol.plan import Plan
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi

__all__ = ["is_aggregated_by_tff"]

_SERVER_OPTIMIZERS = (Sgd, Adam, Yogi, Adagrad)  # exactly these classes: a subclass may have another rule
_UPDATE_CLIPS = ("fixed", "adaptive")  # translated in private_mean.py


def is_aggregated_by_tff(plan: Plan) -> bool:
    """Return whether TFF combines a plan's updates: their weighted mean, or a private mean of clients that count alike.

    Its clients must start afresh in each round, and its server must need nothing but that mean.
    """
    settings, aggregator = plan.settings, aggregator_of(plan)
    return (
        aggregator.is_plain_mean
        and type(aggregator.server_optimizer) in _SERVER_OPTIMIZERS
        and settings.client_algorithm is None
        and not settings.local
        and not any(keeps_optimizer(plan, player) for player in players_of(plan))
        and settings.compression is None
        and settings.secure_aggregation is None
        and settings.min_clients == 1
        and "task_faults" not in plan.arrays
        and (not settings.postprocessors or _is_private_mean(plan))
    )


def _is_private_mean(plan: Plan) -> bool:
    """Return whether all that is done to updates is one private mean, in which clients count alike."""
    kinds = [document["kind"] for document in plan.settings.postprocessors]
    return (
        kinds == ["private_mean"]
        and plan.settings.postprocessors[0]["clip"]["kind"] in _UPDATE_CLIPS
        and bool((plan.arrays["task_weights"] == 1).all())
    )
