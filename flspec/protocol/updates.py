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

from flspec.core.threads import map_on_cores
from flspec.protocol.named_records import Records

__all__ = [
    "ClientUpdate",
    "Delta",
    "WeightedSum",
    "all_finite",
    "as_tensors",
    "as_vector",
    "norm_of",
    "weighted_mean",
    "weighted_sum",
]

_BLOCK = 2**15  # values at a time: sum and product are half a mebibyte, which a core keeps near
_BLOCK_OF_A_THREAD = 2**17  # likewise where several threads add, which wait for each other's Python between blocks
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
    seconds: float | None = None  # wall clock, of the client's training; None if the engine does not measure it


def norm_of(delta: Mapping[str, NDArray[np.floating[Any]]]) -> float:
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
    total = sum(update.weight for update in updates)
    shares = [update.weight / total for update in updates]
    return {name: _mean_of([update.delta[name] for update in updates], shares) for name in updates[0].delta}


class WeightedSum:
    """sum_k weight_k * delta_k / total, as `weighted_mean` of the same updates to the last bit, which come one by one.

    It holds the sum alone. `total` is the weight of all updates that are to come.
    """

    def __init__(self, total: float) -> None:
        self.values: dict[str, NDArray[np.float64]] = {}
        self._total, self._room = total, np.empty(_BLOCK)

    def add(self, update: ClientUpdate) -> None:
        share = update.weight / self._total
        with np.errstate(invalid="ignore"):  # of updates that are not finite, which the sum shows
            for name, value in update.delta.items():
                if name not in self.values:
                    self.values[name] = np.zeros(value.shape)
                _add_share(self.values[name].reshape(-1), value.reshape(-1), share, self._room)


def weighted_sum(updates: Iterable[ClientUpdate], total: float) -> Delta:
    """Return sum_k weight_k * delta_k / total, in float64 and in the order given. It holds one update at a time."""
    added = WeightedSum(total)
    for update in updates:
        added.add(update)
    return added.values


def all_finite(value: NDArray[np.floating[Any]]) -> bool:
    """Return whether every value is finite, without a mask of all of them."""
    flat = value.reshape(-1)
    return all(bool(np.isfinite(flat[start : start + _BLOCK]).all()) for start in range(0, flat.size, _BLOCK))


def _mean_of(values: Sequence[NDArray[np.floating[Any]]], shares: Sequence[float]) -> NDArray[np.float64]:
    """Return the sum of each value times its share, on several cores: coordinates do not depend on each other."""
    mean, flat = np.zeros(values[0].shape), [value.reshape(-1) for value in values]
    into = mean.reshape(-1)

    def add(start: int) -> None:
        block = slice(start, start + _BLOCK_OF_A_THREAD)
        room = np.empty(into[block].size)
        with np.errstate(invalid="ignore"):
            for value, share in zip(flat, shares, strict=True):
                _add_block(into[block], value[block], share, room)

    map_on_cores(add, range(0, into.size, _BLOCK_OF_A_THREAD), into.size * len(values))
    return mean


def _add_share(
    into: NDArray[np.float64], value: NDArray[np.floating[Any]], share: float, room: NDArray[np.float64]
) -> None:
    for start in range(0, into.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        _add_block(into[block], value[block], share, room)


def _add_block(
    into: NDArray[np.float64], value: NDArray[np.floating[Any]], share: float, room: NDArray[np.float64]
) -> None:
    """Add share * value: the product is rounded, then the sum, as no fused multiplication would."""
    product = room[: into.size]
    product[:] = value
    np.multiply(product, share, out=product)
    np.add(into, product, out=into)
