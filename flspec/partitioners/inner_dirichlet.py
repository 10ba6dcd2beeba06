"""Clients of given sizes, each with a mix of classes of its own.

Acar et al. Federated Learning Based on Dynamic Regularization. ICLR 2021. https://arxiv.org/abs/2111.04263
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import apportion, held_by, members_of

Integers = NDArray[np.int64]
Shares = NDArray[np.float64]


class InnerDirichlet(ByClass):
    """Client sizes are given, and each client fills its own from the classes in Dirichlet(alpha) shares.

    Client k prefers classes by p_k ~ Dir(alpha, ..., alpha). Repeatedly, a client that is not full is chosen at random
    and draws a class from p_k. A class that has run out is drawn no more, and the other shares are scaled up. If all
    classes of a client's shares have run out, it draws from the remaining classes, each with equal chance.
    """

    kind: Literal["inner_dirichlet"] = "inner_dirichlet"
    alpha: Annotated[
        float, Field(gt=0, le=1e6, description="concentration: small is skewed, large is even", examples=[0.5])
    ]
    sizes: Annotated[
        tuple[Count, ...] | None,
        Field(
            max_length=10_000_000,
            description="how many examples each client holds, a number a client; equal shares of all if absent",
        ),
    ] = None

    @field_validator("sizes")
    @classmethod
    def _not_empty(cls, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if sizes is not None and not sizes:
            raise ValueError("names no client; give a size a client, or leave it out")
        return sizes

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        codes, num_classes = self.classes(examples)
        sizes = self._sizes(len(examples))
        members = members_of(codes, num_classes)
        clients = _arrivals(sizes, stream.child("arrivals"))
        priors = np.stack([stream.child("mix", k).dirichlet(self.alpha, num_classes) for k in range(self.clients)])
        owners = np.full(len(examples), -1, np.int64)
        for label, steps in enumerate(_classes_drawn(priors, clients, list(map(len, members)), stream.child("draws"))):
            order = stream.child("order", label).permutation(len(members[label]))
            owners[members[label][order[: len(steps)]]] = clients[steps]
        return held_by(owners, self.clients)

    def _sizes(self, num_examples: int) -> Integers:
        if self.sizes is None:
            return apportion(np.ones(self.clients), num_examples)
        if len(self.sizes) != self.clients:
            raise InputError(
                f"partition.sizes has {len(self.sizes)} sizes for {self.clients} clients; give one a client"
            )
        if sum(self.sizes) > num_examples:
            raise InputError(
                f"partition.sizes sum to {sum(self.sizes):,}, but there are {num_examples:,} examples; lower them"
            )
        return np.array(self.sizes, np.int64)


def _arrivals(sizes: Integers, stream: Stream) -> Integers:
    """Return which client draws at each step: any that is not full, with equal chances.

    This is the order in which clients arrive if each arrives independently at one rate, as often as it has room.
    """
    times = np.cumsum(-np.log(stream.uniform(int(sizes.sum()))))
    starts = np.concatenate([[0.0], times])[np.cumsum(sizes) - sizes]
    clients: Integers = np.repeat(np.arange(len(sizes)), sizes)
    return clients[np.argsort(times - starts[clients], kind="stable")]


def _classes_drawn(priors: Shares, clients: Integers, stock: list[int], stream: Stream) -> list[Integers]:
    """Return the steps, ascending, that take an example of each class; `clients` draw in this order, each from its
    prior.

    All draw at once. Then, from the first class to run out to the last, every step that came too late for it draws
    again.
    """
    live = [label for label, left in enumerate(stock) if left]
    steps = _drawn(priors, np.arange(len(clients)), clients, live, len(stock), stream.child("all"))
    while over := [label for label in live if len(steps[label]) > stock[label]]:
        gone = min(over, key=lambda label: steps[label][stock[label]])
        live.remove(gone)
        late, steps[gone] = steps[gone][stock[gone] :], steps[gone][: stock[gone]]
        for label, more in enumerate(_drawn(priors, late, clients, live, len(stock), stream.child("without", gone))):
            if len(more):
                steps[label] = np.sort(np.concatenate([steps[label], more]))
    return steps


def _drawn(
    priors: Shares, steps: Integers, clients: Integers, live: list[int], num_classes: int, stream: Stream
) -> list[Integers]:
    """Return the steps that draw each class, among `steps` and the classes that are `live`."""
    rows, row_of = np.unique(clients[steps], return_inverse=True)
    shares = priors[np.ix_(rows, np.array(live))]
    sums = shares.sum(axis=1, keepdims=True)
    shares = np.where(sums > 0.0, shares / np.where(sums > 0.0, sums, 1.0), 1.0 / len(live))
    # One search for all: the cumulative shares of row i lie between i and i + 1.
    bounds = np.minimum(np.cumsum(shares, axis=1), 1.0)
    bounds[:, -1] = 1.0
    bounds += np.arange(len(rows))[:, None]
    found = np.searchsorted(bounds.ravel(), row_of + stream.uniform(len(steps))) - row_of * len(live)
    drawn = np.array(live)[np.clip(found, 0, len(live) - 1)]
    return [steps[of_class] for of_class in members_of(drawn, num_classes)]
