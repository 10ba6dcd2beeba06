"""Bulyan: El Mhamdi et al., ICML 2018, arXiv:1802.07927, Section 4, on Krum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from flspec.aggregators.base import Need
from flspec.aggregators.krum import krum_order
from flspec.aggregators.rules import NumByzantine, VectorRule, middle
from flspec.aggregators.vectors import Array, by_coordinate, distances_between
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import ClientUpdate, Delta

__all__ = ["Bulyan", "bulyan_picks"]


class Bulyan(VectorRule):
    """Of n - 2 f updates that Krum picks, the mean of each coordinate around its median, n >= 4 f + 3.

    Each of theta = n - 2 f picks is Krum's of the updates that are left, which are then scored anew. Then, by
    coordinate, the mean of the beta = theta - 2 f values that are nearest to the picked updates' median; of two as
    near, the lower. f = 0 is the mean. Clients count alike. With f of 1 or 2 the last picks go by one nearest other,
    which two updates always share, so the first of these in client order is picked.
    """

    kind: Literal["bulyan"] = "bulyan"
    f: NumByzantine

    def needs(self) -> Iterator[Need]:
        yield Need("f", 4 * self.f + 3, "4 f + 3")

    def of_vectors(self, updates: Sequence[ClientUpdate], record: Weights) -> Delta:
        vectors = [update.delta for update in updates]
        picked = sorted(bulyan_picks(distances_between(vectors), self.f))
        return by_coordinate([vectors[one] for one in picked], self._around_median)

    def _around_median(self, values: Array) -> Array:
        ordered = np.sort(values, axis=0)
        away = np.abs(ordered - middle(ordered))
        nearest = np.argsort(away, axis=0, kind="stable")[: len(values) - 2 * self.f]
        return np.asarray(np.take_along_axis(ordered, nearest, axis=0).mean(axis=0))


def bulyan_picks(distances: Array, f: int) -> list[int]:
    """Return the n - 2 f updates that Krum picks one after the other, from [n, n] squared distances."""
    left, picked = list(range(len(distances))), list[int]()
    while len(picked) < len(distances) - 2 * f:
        first = krum_order(distances[np.ix_(left, left)], f)[0] if len(left) > 1 else 0
        picked.append(left.pop(first))
    return picked
