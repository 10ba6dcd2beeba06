"""The coordinate-wise trimmed mean: Yin et al., ICML 2018, arXiv:1803.01498, Definition 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from flspec.aggregators.base import Need
from flspec.aggregators.rules import CoordinateRule, NumByzantine
from flspec.aggregators.vectors import Array


class TrimmedMean(CoordinateRule):
    """The mean of each coordinate without its f lowest and f highest values: of n - 2 f, n >= 2 f + 1.

    f is a number of updates and no share: int(0.2 * 4) is 0, and would leave out nobody. f = 0 is the mean. Clients
    count alike.
    """

    kind: Literal["trimmed_mean"] = "trimmed_mean"
    f: NumByzantine

    def needs(self) -> Iterator[Need]:
        yield Need("f", 2 * self.f + 1, "2 f + 1")

    def of_values(self, values: Array) -> Array:
        ordered = np.sort(values, axis=0)
        return np.asarray(ordered[self.f : len(ordered) - self.f].mean(axis=0), np.float64)
