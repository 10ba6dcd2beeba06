"""Centered clipping: Karimireddy et al., ICML 2021, arXiv:2012.10333, Algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators.rules import VectorRule
from flspec.aggregators.vectors import distances_from, moved
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta


class CenteredClipping(VectorRule):
    """v <- v + mean_i (x_i - v) min(1, tau / ||x_i - v||), `iterations` times; v is the combined update.

    It begins with the v of the round before, a record of the server in float32, which is 0 before the first round. A
    round moves v by tau * iterations at most. Clients count alike.
    """

    kind: Literal["centered_clipping"] = "centered_clipping"
    tau: Annotated[
        float, Field(gt=0, le=1e12, description="largest distance from v that stays unchanged", examples=[1.0])
    ]
    iterations: Annotated[int, Field(ge=1, le=10**4, description="L, clippings a round, each around a new v")] = 1

    def initial_record(self, weights: Weights) -> Weights:
        return {name: np.zeros_like(value) for name, value in weights.items()}

    def next_record(self, combined: Delta) -> Weights:
        return {name: value.astype(np.float32) for name, value in combined.items()}

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        vectors = [update.delta for update in updates]
        center = {name: np.zeros(v.shape) for name, v in vectors[0].items()}
        center |= {name: value.astype(np.float64) for name, value in record.items()}
        for _ in range(self.iterations):
            away = distances_from(vectors, center)
            factors = np.minimum(1.0, self.tau / np.maximum(away, np.finfo(float).tiny))
            center = dict(moved(vectors, center, factors / len(vectors)))
        return center
