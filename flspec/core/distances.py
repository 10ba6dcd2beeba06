"""Distances of arrays as numbers that JSON can hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST", "largest_magnitude", "share_of"]

MOST = float(np.finfo(np.float64).max)  # in place of what is not finite, for which JSON has no word


def largest_magnitude(values: NDArray[np.generic]) -> float:
    """Return the largest magnitude; a value that is not finite counts as larger than any."""
    largest = float(np.max(np.abs(values.astype(np.float64)), initial=0.0))
    return largest if np.isfinite(largest) else MOST


def share_of(difference: float, whole: float) -> float:
    """Return a difference as a share; of nothing, none is 0 and any other larger than any number."""
    if difference == 0.0:
        return 0.0
    return min(difference / whole, MOST) if whole else MOST
