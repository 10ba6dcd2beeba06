"""Clipping at the median of the updates' norms: Sun et al. 2019, arXiv:1911.07963, with a bound of each round's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from flspec.aggregators.base import WeightedAggregator
from flspec.aggregators.rules import VectorRule
from flspec.aggregators.vectors import distances_from, moved
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta


class NormClipping(WeightedAggregator, VectorRule):
    """The weighted mean of x_i min(1, M / ||x_i||), where M is the median of the norms of the round's updates.

    A bound that is fixed is the postprocessor `clip_update`, with any aggregator.
    """

    kind: Literal["norm_clipping"] = "norm_clipping"

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        vectors, weights = [u.delta for u in updates], np.array([u.weight for u in updates], np.float64)
        zero = {name: np.zeros(value.shape) for name, value in vectors[0].items()}
        norms = distances_from(vectors, zero)
        bound = float(np.median(norms))
        factors = np.where(norms > bound, bound / np.maximum(norms, np.finfo(float).tiny), 1.0)
        return moved(vectors, zero, weights / weights.sum() * factors)
