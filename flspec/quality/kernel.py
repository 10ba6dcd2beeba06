"""Kernel Inception Distance (Binkowski et al., ICLR 2018), of any features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flspec.quality.compared import ComparedPictures, Features, blocks

__all__ = ["kernel_distance", "kernel_distances"]


def kernel_distance(real: Features, fake: Features) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy, with k(a, b) = (a . b / d + 1)^3.

    The sum over i != j of k(x_i, x_j) / (m (m - 1)), plus the same of y, less 2 sum of k(x_i, y_j) / (m n). Its mean
    over sets of one distribution is 0, so it may be negative. Both sets need two pictures.
    """
    m, n = len(real), len(fake)
    return _within(real) / (m * (m - 1)) + _within(fake) / (n * (n - 1)) - 2.0 * _between(real, fake) / (m * n)


def kernel_distances(pictures: ComparedPictures) -> NDArray[np.float64]:
    """Return the distance in each of the planned subsets, or the one of all pictures."""
    if pictures.subsets is None:
        return np.array([kernel_distance(pictures.real, pictures.fake)])
    rows = pictures.subsets.rows(len(pictures.real), len(pictures.fake))
    return np.array([kernel_distance(pictures.real[ours], pictures.fake[theirs]) for ours, theirs in rows])


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (a @ b.T / a.shape[1] + 1.0) ** 3
    return values


def _within(x: Features) -> float:
    """Return the sum of the kernel over all pairs of different rows."""
    total = 0.0
    for first, a in blocks(x):
        for second, b in blocks(x):
            values = _kernel(a, b)
            if first == second:
                np.fill_diagonal(values, 0.0)  # a picture with itself would make the estimate biased
            total += float(values.sum())
    return total


def _between(x: Features, y: Features) -> float:
    return sum(float(_kernel(a, b).sum()) for _, a in blocks(x) for _, b in blocks(y))
