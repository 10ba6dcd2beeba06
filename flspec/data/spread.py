"""Features whose size would spoil training.

Initial weights and usual learning rates suit features near 1. The loss of a linear model is as steep along a feature as
the mean of its square, so one of size 100 needs steps 10,000 times smaller, with which the others learn nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.data.examples import Data

__all__ = ["LARGE", "SMALL", "sizes_of", "unfit_sizes"]

LARGE, SMALL = 10.0, 1e-3  # sizes from which, and up to which, a feature is told
_AT_ONCE = 2**22  # values


def sizes_of(features: NDArray[Any]) -> NDArray[np.float64]:
    """Return the root mean square of each feature, [num_features], of features [num_rows, num_features]."""
    rows = max(1, _AT_ONCE // max(1, features.shape[1]))
    blocks = (features[start : start + rows].astype(np.float64) for start in range(0, len(features), rows))
    total = sum((np.square(block).sum(axis=0) for block in blocks), np.zeros(features.shape[1]))
    return np.asarray(np.sqrt(total / max(1, len(features))))


def unfit_sizes(data: Data, names: Sequence[str] = ()) -> dict[str, float]:
    """Return the features of a table whose size would spoil training, the largest first. They need names."""
    names, features = names or data.feature_names, data.train.features
    if features.ndim != 2 or features.dtype != np.float32 or len(names) != features.shape[1]:
        return {}
    sizes = dict(zip(names, sizes_of(features).tolist(), strict=True))
    wrong = {name: size for name, size in sizes.items() if size >= LARGE or 0 < size <= SMALL}
    return dict(sorted(wrong.items(), key=lambda item: -item[1]))
