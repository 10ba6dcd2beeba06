"""What clients send back, and its mean.

Sums are float64 and in client order, because floating-point sums depend on order and replies arrive in any; that
is what makes two backends agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.named_records import Records

__all__ = ["ClientUpdate", "Delta", "weighted_mean"]

Delta = Mapping[str, NDArray[np.float64]]  # a change of the weights, by tensor name


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """What one client sends back after its local training."""

    client: int
    delta: Mapping[str, NDArray[np.floating[Any]]]  # of what it was sent: after training, less before
    weight: float  # its planned share of the mean, before normalising
    num_trained: int  # examples trained on, counted each time
    # Sums over those examples by the metric's name, each measured before the step it took part in: `loss`, and
    # `accuracy`, the examples that are right, of one with several labels the share of them that is right.
    sums: Mapping[str, float]
    client_state: Records = field(default_factory=dict)  # what it keeps to itself until its next round
    sent: Records = field(default_factory=dict)  # what it sends beside its delta


def weighted_mean(updates: Sequence[ClientUpdate]) -> Delta:
    """sum_k weight_k * delta_k / sum_k weight_k, in float64 and in the order given."""
    total = sum(update.weight for update in updates)
    mean = {name: np.zeros(value.shape) for name, value in updates[0].delta.items()}
    for update in updates:
        for name, value in update.delta.items():
            mean[name] += (update.weight / total) * value.astype(np.float64)
    return mean
