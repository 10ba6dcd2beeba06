"""The coordinate-wise median: Yin et al., ICML 2018, arXiv:1803.01498, Definition 1."""

from __future__ import annotations

from typing import Literal

from flspec.aggregators.rules import CoordinateRule, middle
from flspec.aggregators.vectors import Array


class Median(CoordinateRule):
    """The median of each coordinate over the updates; of an even number of them the mean of the middle two.

    It withstands f byzantine updates of n >= 2 f + 1. Clients count alike.
    """

    kind: Literal["median"] = "median"

    def of_values(self, values: Array) -> Array:
        return middle(values)
