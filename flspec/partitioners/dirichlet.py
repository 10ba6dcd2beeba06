"""Label skew by a Dirichlet distribution.

Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification.
2019. https://arxiv.org/abs/1909.06335. As most implementations do, and unlike the paper's own sampling of each
client's label mix, each class is spread over the clients in Dirichlet(alpha) shares, so client sizes vary too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import counts_that_suffice, deal_classes, members_of


class Dirichlet(ByClass):
    """Each class is spread over the clients in Dirichlet(alpha) shares; every example goes to one client.

    p_c ~ Dir(alpha, ..., alpha), and client k has the share p_c[k] of class c. `balanced` is the variant of Li et al.,
    ICDE 2022 (NIID-Bench), https://arxiv.org/abs/2102.02079. There, classes are spread one after another, and a client
    that already has its even share of all examples gets no more: its p_c[k] becomes 0, and the other shares are scaled
    up.
    """

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: Annotated[
        float, Field(gt=0, le=1e6, description="concentration: small is skewed, large is even", examples=[0.5])
    ]
    min_examples: Annotated[
        Count,
        Field(description="fewest examples a client may have; the whole split is drawn again until all have them"),
    ] = 1
    balanced: Annotated[
        bool, Field(description="whether a client that has its even share of the examples gets no more")
    ] = False

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        members = members_of(*self.classes(examples))
        sizes = [len(of_class) for of_class in members]
        self.check_enough(sum(sizes), self.min_examples)
        attempt, counts = counts_that_suffice(
            lambda attempt: self._counts(sizes, stream.child("attempt", attempt)),
            self.min_examples,
            f"alpha {self.alpha:g} × {self.clients} clients",
        )
        return deal_classes(members, counts, stream.child("attempt", attempt))

    def _counts(self, sizes: list[int], stream: Stream) -> NDArray[np.int64]:
        """Return how many examples of each class each client has: [clients, classes]."""
        counts = np.zeros((self.clients, len(sizes)), np.int64)
        held = np.zeros(self.clients, np.int64)
        for label, size in enumerate(sizes):
            if not size:
                continue
            shares = stream.child("shares", label).dirichlet(self.alpha, self.clients)
            ends: NDArray[np.float64] = np.cumsum(shares)
            if (
                self.balanced
            ):  # rounded, so that rounding errors of the sum give no example to a last client without a share
                ends = np.cumsum(_shares_of(held * self.clients < sum(sizes), shares)).round(12)
            cuts = (ends[:-1] * size).astype(np.int64)
            counts[:, label] = np.diff(cuts, prepend=0, append=size)
            held += counts[:, label]
        return counts


def _shares_of(is_open: NDArray[np.bool_], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares of the clients that may have more, or even shares if only other clients drew any."""
    theirs = np.where(is_open, shares, 0.0)
    if not theirs.sum() > 0.0:
        theirs = is_open.astype(np.float64)
    return np.asarray(theirs / theirs.sum())
