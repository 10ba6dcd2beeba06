"""Arithmetic of rules on whole updates: float64, in client order, some coordinates of all updates at a time.

A hundred updates of 11 million values are 8.8 GB in float64, so no rule makes arrays of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.updates import Delta

__all__ = ["Array", "Tensors", "Vectors", "by_coordinate", "distances_between", "distances_from", "moved"]

Array = NDArray[np.float64]
Tensors = Mapping[str, NDArray[np.floating[Any]]]  # by name; all of an update together are one vector
Vectors = Sequence[Tensors]

_VALUES_AT_ONCE = 2**16  # of all updates together: half a mebibyte, which processors keep near


def by_coordinate(vectors: Vectors, rule: Callable[[Array], Array]) -> Delta:
    """Return what `rule` makes of each coordinate: float64 [num_updates, any] to [any]."""
    combined = {name: np.empty(value.size) for name, value in vectors[0].items()}
    for name, part, values in _blocks(vectors):
        combined[name][part] = rule(values)
    return _like(vectors, combined)


def distances_between(vectors: Vectors) -> Array:
    """Return the squared Euclidean distance of any two vectors, [num_updates, num_updates].

    They are sums of squared differences: |x|^2 + |y|^2 - 2xy loses all digits where updates are alike.
    """
    squares = np.zeros((len(vectors), len(vectors)))
    for _, _, values in _blocks(vectors):
        room = np.empty_like(values)
        for one in range(len(vectors) - 1):
            difference = np.subtract(values[one + 1 :], values[one], out=room[one + 1 :])
            squares[one, one + 1 :] += np.square(difference, out=difference).sum(axis=1)
    return squares + squares.T


def distances_from(vectors: Vectors, point: Delta) -> Array:
    """Return the Euclidean distance of each vector from a point, [num_updates]."""
    squares = np.zeros(len(vectors))
    for name, part, values in _blocks(vectors):
        difference = values - point[name].reshape(-1)[part]
        squares += np.square(difference, out=difference).sum(axis=1)
    return np.sqrt(squares)


def moved(vectors: Vectors, point: Delta, shares: Array) -> Delta:
    """Return point + sum_i shares_i (x_i - point), summed in client order; without shares that are 0."""
    after = {name: np.empty(value.size) for name, value in vectors[0].items()}
    for name, part, values in _blocks(vectors):
        start = point[name].reshape(-1)[part]
        change = np.zeros_like(start)
        for share, value in zip(shares, values, strict=True):
            if share:
                change += share * (value - start)
        after[name][part] = start + change
    return _like(vectors, after)


def _blocks(vectors: Vectors) -> Iterator[tuple[str, slice, Array]]:
    """Yield all coordinates, some at a time: the tensor, which of its values, and these of each update."""
    num = max(1, _VALUES_AT_ONCE // len(vectors))
    for name, first in vectors[0].items():
        flat = [vector[name].reshape(-1) for vector in vectors]
        for start in range(0, first.size, num):
            part = slice(start, start + num)
            yield name, part, np.array([values[part] for values in flat], np.float64)


def _like(vectors: Vectors, flat: Mapping[str, Array]) -> Delta:
    return {name: flat[name].reshape(value.shape) for name, value in vectors[0].items()}
