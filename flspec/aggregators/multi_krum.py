"""Multi-Krum: Blanchard et al., NeurIPS 2017, Section 5 ("Multi-Krum")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.aggregators.base import Need
from flspec.aggregators.krum import krum_order, need_of_krum
from flspec.aggregators.rules import NumByzantine, VectorRule
from flspec.aggregators.vectors import by_coordinate, distances_between
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta


class MultiKrum(VectorRule):
    """The mean of the m updates with the lowest Krum scores, n >= 2 f + 3 and m <= n - f.

    All scores are of all updates, as in the paper's experiments; Bulyan scores anew after each pick. m = 1 is Krum.
    Clients count alike: a client that says it has many examples is no larger part of the mean.
    """

    kind: Literal["multi_krum"] = "multi_krum"
    f: NumByzantine
    m: Annotated[int, Field(ge=1, le=10**6, description="updates of which the mean is taken", examples=[3])]

    def needs(self) -> Iterator[Need]:
        yield need_of_krum(self.f)
        yield Need("m", self.m + self.f, "m + f")

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        vectors = [update.delta for update in updates]
        chosen = sorted(krum_order(distances_between(vectors), self.f)[: self.m])
        return by_coordinate([vectors[one] for one in chosen], lambda values: np.asarray(values.mean(axis=0)))
