"""Improved precision and recall (Kynkäänniemi et al., NeurIPS 2019): the share of one set that another one covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flspec.quality.compared import Features, blocks

__all__ = ["covered_share"]


def covered_share(covering: Features, covered: Features, neighbours: int = 3) -> float:
    """Return the share of `covered` that is as near to some row of `covering` as that row's k-th neighbour in its set.

    With real pictures covering generated ones it is precision, the other way round recall. `covering` needs more
    rows than `neighbours`.
    """
    middle = covering.mean(axis=0, dtype=np.float64)  # distances stay, and less of them is lost to rounding
    reach = _reach(covering, middle, neighbours)
    inside = np.zeros(len(covered), np.bool_)
    for at, b in blocks(covered):
        for start, a in blocks(covering):
            within = _squares(a - middle, b - middle) <= reach[start : start + len(a), None]
            inside[at : at + len(b)] |= within.any(axis=0)
    return float(inside.mean())


def _reach(x: Features, middle: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return each row's squared distance to its k-th neighbour; a row is no neighbour of itself."""
    reach = np.empty(len(x))
    for first, a in blocks(x):
        nearest = np.full((len(a), neighbours), np.inf)
        for second, b in blocks(x):
            found = _squares(a - middle, b - middle)
            if first == second:
                # Leaving out the smallest instead would leave out a copy: rounding puts it at any side of the row.
                np.fill_diagonal(found, np.inf)
            nearest = np.partition(np.hstack([nearest, found]), neighbours - 1, axis=1)[:, :neighbours]
        reach[first : first + len(a)] = nearest.max(axis=1)
    return reach


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distance of each row of `a` from each of `b`."""
    squares: NDArray[np.float64] = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T
    return np.maximum(squares, 0.0)
