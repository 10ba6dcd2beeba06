"""Label skew by a Dirichlet distribution.

Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification.
2019. https://arxiv.org/abs/1909.06335. As most implementations do, and unlike the paper's own sampling of each
client's label mix, each class is spread over the clients in Dirichlet(alpha) shares, so client sizes vary too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.data import Examples
from flspec.errors import InputError
from flspec.partitioners.base import Counted, Holdings
from flspec.randomness import Stream

_ATTEMPTS = 100


class Dirichlet(Counted):
    """Each class is spread over the clients in Dirichlet(alpha) shares; every example goes to one client."""

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: Annotated[
        float, Field(gt=0, le=1e6, description="concentration: small is skewed, large is even", examples=[0.5])
    ]
    min_examples: Annotated[
        PositiveInt,
        Field(description="fewest examples a client may hold; the whole split is drawn again until so"),
    ] = 1

    def split(self, examples: Examples, stream: Stream) -> Holdings:
        labels, num_classes = examples.classes("partition")
        if self.clients * self.min_examples > len(labels):
            raise InputError(
                f"partition: {self.clients} clients of at least {self.min_examples} examples need "
                f"{self.clients * self.min_examples}, but there are {len(labels)}; lower clients or min_examples"
            )
        smallest = []
        for attempt in range(_ATTEMPTS):
            clients = self._attempt(labels, num_classes, stream.child("attempt", attempt))
            smallest.append(min(map(len, clients)))
            if smallest[-1] >= self.min_examples:
                return clients
        raise InputError(
            f"partition: alpha {self.alpha:g} over {self.clients} clients left a client with fewer than "
            f"min_examples {self.min_examples} in each of {_ATTEMPTS} draws (the smallest client held "
            f"{np.mean(smallest):.1f} on average); raise alpha or lower clients or min_examples"
        )

    def _attempt(self, labels: NDArray[np.int64], num_classes: int, stream: Stream) -> Holdings:
        parts: list[list[NDArray[np.int64]]] = [[] for _ in range(self.clients)]
        for label in range(num_classes):
            examples = np.flatnonzero(labels == label)
            examples = examples[stream.child("order", label).permutation(len(examples))]
            shares = stream.child("shares", label).dirichlet(self.alpha, self.clients)
            cuts = (np.cumsum(shares)[:-1] * len(examples)).astype(np.int64)
            for client, part in zip(parts, np.split(examples, cuts), strict=True):
                client.append(part)
        return [np.sort(np.concatenate(client)) for client in parts]
