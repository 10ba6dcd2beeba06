"""Client updates and their weighted mean.

Sums are taken in float64 and in client order. Floating-point sums depend on the order, and replies arrive in any order,
so this is what makes two backends agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.named_records import Records

__all__ = ["ClientUpdate", "Delta", "as_tensors", "as_vector", "norm_of", "weighted_mean", "weighted_sum"]

Delta = Mapping[str, NDArray[np.float64]]  # a change of the weights, by tensor name


@dataclass(frozen=True, eq=False)
class ClientUpdate:
    """The result of one client's local training."""

    client: int
    delta: Mapping[str, NDArray[np.floating[Any]]]  # weights after training, less the weights it was sent
    weight: float  # planned weight in the mean, before normalising
    num_trained: int  # examples trained on; an example counts once per use
    # Sums over those examples by the metric's name, each example measured before the step that uses it: `loss`, and
    # `accuracy`, the number of correct predictions; of an example with several labels, the share that is correct.
    sums: Mapping[str, float]
    client_state: Records = field(default_factory=dict)  # kept by the client, never sent to the server
    sent: Records = field(default_factory=dict)  # sent to the server beside the delta
    numbers: Mapping[str, float] = field(default_factory=dict)  # likewise, by name
    repeat: int = 0  # of the task: which of a client's tasks in this round, from 0
    # What is sent in place of the tensors that `delta` lacks: `flspec.execution.compression`. Empty: it lacks none.
    payload: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def norm_of(delta: Delta) -> float:
    """Return the Euclidean norm of all tensors of an update together."""
    return math.hypot(*(float(np.linalg.norm(value)) for value in delta.values()))


def as_vector(tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """[num_values]: all tensors in their order."""
    return np.concatenate([np.asarray(value).ravel() for value in tensors.values()] or [np.zeros(0)])


def as_tensors(vector: NDArray[Any], like: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors, named and shaped as those of `like`, that `as_vector` makes a vector of."""
    parts = np.split(vector, np.cumsum([value.size for value in like.values()])[:-1]) if like else []
    return {name: part.reshape(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


def weighted_mean(updates: Sequence[ClientUpdate]) -> Delta:
    """Return sum_k weight_k * delta_k / sum_k weight_k, in float64 and in the order given."""
    return weighted_sum(updates, sum(update.weight for update in updates))


def weighted_sum(updates: Iterable[ClientUpdate], total: float) -> Delta:
    """Return sum_k weight_k * delta_k / total, in float64 and in the order given. It holds one update at a time."""
    result: dict[str, NDArray[np.float64]] = {}
    for update in updates:
        for name, value in update.delta.items():
            if name not in result:
                result[name] = np.zeros(value.shape)
            result[name] += (update.weight / total) * value.astype(np.float64, copy=False)
    return result
