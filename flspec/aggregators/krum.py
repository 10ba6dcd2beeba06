"""Krum: Blanchard et al., NeurIPS 2017, Section 4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from flspec.aggregators.base import Need
from flspec.aggregators.rules import NumByzantine, VectorRule
from flspec.aggregators.vectors import Array, distances_between
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["Krum", "krum_order", "need_of_krum"]


class Krum(VectorRule):
    """The one update whose n - f - 2 nearest others are nearest to it, n >= 2 f + 3.

    score(i) = sum of ||x_i - x_j||^2 over the n - f - 2 others j that are nearest to i; the lowest score wins, of equal
    ones the first in client order. Some implementations take n - f - 1 others, or never look at n. Clients count alike.
    """

    kind: Literal["krum"] = "krum"
    f: NumByzantine

    def needs(self) -> Iterator[Need]:
        yield need_of_krum(self.f)

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        chosen = krum_order(distances_between([update.delta for update in updates]), self.f)[0]
        return {name: value.astype(np.float64) for name, value in updates[chosen].delta.items()}


def need_of_krum(f: int) -> Need:
    """Return how many updates Krum needs: the score of an honest one must be of honest ones mostly."""
    return Need("f", 2 * f + 3, "2 f + 3")


def krum_order(distances: Array, f: int) -> list[int]:
    """Return the updates by their scores, lowest first, from [n, n] squared distances.

    Of so few that n - f - 2 is none, as at the end of Bulyan's picks, the nearest other counts.
    """
    num = len(distances)
    others = distances[~np.eye(num, dtype=bool)].reshape(num, num - 1)
    scores = np.sort(others, axis=1)[:, : max(1, num - f - 2)].sum(axis=1)
    order: list[int] = np.argsort(scores, kind="stable").tolist()
    return order
