"""The geometric median, "RFA": Pillutla et al., IEEE TSP 2022, arXiv:1912.13445, Algorithm 2 (smoothed Weiszfeld)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators.base import WeightedAggregator
from flspec.aggregators.rules import VectorRule, median_of
from flspec.aggregators.vectors import distances_from, moved
from flspec.errors import RunError
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta


class GeometricMedian(WeightedAggregator, VectorRule):
    """The point with the least sum of weighted distances alpha_i ||z - x_i||, sum_i alpha_i = 1.

    b_i = alpha_i / max(smoothing, ||z - x_i||);  z <- sum_i b_i x_i / sum_i b_i, from the coordinate median on. It has
    arrived once the objective's gradient there, ||sum_i b_i (z - x_i)||, from 0 to 1 whatever the updates' size, is at
    most `tolerance`: the objective is then above its least by no more than 2 `tolerance` of itself. After `iterations`
    without it the run ends. Without `tolerance` exactly so many are done. The paper does 3, and byzfl starts from 0:
    one update of 1e30 can then be anywhere, or a shift of all count.

    Beside equal updates that have a share eta of the weights, such as those of attackers by ALIE, the gradient can fall
    as slowly as eta / steps, so a tolerance of 1e-6 may take a million steps.
    """

    kind: Literal["geometric_median"] = "geometric_median"
    smoothing: Annotated[
        float, Field(gt=0, le=1e6, description="nu: distances below it count as this; in units of the updates")
    ] = 1e-6
    iterations: Annotated[int, Field(ge=1, le=10**6, description="steps of Weiszfeld's algorithm, at most")] = 10_000
    tolerance: Annotated[
        float | None, Field(gt=0, lt=1, description="largest gradient at which it has arrived; null: none is looked at")
    ] = 1e-3

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        vectors, weights = [u.delta for u in updates], np.array([u.weight for u in updates], np.float64)
        shares, point, gradient = weights / weights.sum(), median_of(vectors), np.inf
        for _ in range(self.iterations):
            pulls = shares / np.maximum(self.smoothing, distances_from(vectors, point))
            after = moved(vectors, point, pulls / pulls.sum())
            gradient = float(pulls.sum() * distances_from([after], point)[0])
            point = after
            if self.tolerance is not None and gradient <= self.tolerance:
                return point
        if self.tolerance is None:
            return point
        raise RunError(
            f"aggregator.iterations: geometric_median has a gradient of {gradient:.2g} after {self.iterations:,}, "
            f"above the tolerance {self.tolerance:g}; raise iterations or tolerance, or set tolerance: null"
        )
