"""Few classes a client, in shares that vary.

Li, Lyu. Convergence Analysis of Sequential Federated Learning on Heterogeneous Data. NeurIPS 2023, Appendix.
https://arxiv.org/abs/2311.03154
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ByClass, ClientIndices, Count
from flspec.partitioners.dealing import check_classes, counts_that_suffice, deal_classes, members_of, random_rows

_ATTEMPTS = 100


class ExtendedDirichlet(ByClass):
    """Each client gets some classes at random; each class is spread over its clients in Dirichlet(alpha) shares.

    Classes are drawn again until each has a client. Then p_c ~ Dir(alpha q_c), where q_c is 1 for a client that got
    class c and 0 for the others. Every example goes to one client.
    """

    kind: Literal["extended_dirichlet"] = "extended_dirichlet"
    classes_per_client: Annotated[Count, Field(description="how many classes a client is given", examples=[2])]
    alpha: Annotated[
        float,
        Field(gt=0, le=1e6, description="concentration: small is skewed, large spreads a class evenly", examples=[0.5]),
    ]
    min_examples: Annotated[
        Count,
        Field(description="fewest examples a client may have; the whole split is drawn again until all have them"),
    ] = 1

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        members = [of_class for of_class in members_of(*self.classes(examples)) if len(of_class)]
        sizes = [len(of_class) for of_class in members]
        self.check_enough(sum(sizes), self.min_examples)
        self._check(len(members))
        attempt, counts = counts_that_suffice(
            lambda attempt: self._counts(sizes, stream.child("attempt", attempt)),
            self.min_examples,
            f"alpha {self.alpha:g} × {self.clients} clients of {self.classes_per_client} classes",
        )
        return deal_classes(members, counts, stream.child("attempt", attempt))

    def _check(self, num_classes: int) -> None:
        check_classes(self.classes_per_client, num_classes)
        if self.clients * self.classes_per_client < num_classes:
            raise InputError(
                f"partition: {self.clients} clients of {self.classes_per_client} classes hold "
                f"{self.clients * self.classes_per_client} of {num_classes} classes at most, and each is to have a "
                "client; raise clients or classes_per_client"
            )

    def _counts(self, sizes: list[int], stream: Stream) -> NDArray[np.int64]:
        counts = np.zeros((self.clients, len(sizes)), np.int64)
        for label, holders in enumerate(self._holders(len(sizes), stream)):
            shares = stream.child("shares", label).dirichlet(self.alpha, len(holders))
            cuts = (np.round(np.cumsum(shares)[:-1], 12) * sizes[label]).astype(np.int64)
            counts[holders, label] = np.diff(cuts, prepend=0, append=sizes[label])
        return counts

    def _holders(self, num_classes: int, stream: Stream) -> list[NDArray[np.int64]]:
        """Return the clients that get each class."""
        for attempt in range(_ATTEMPTS):
            given = random_rows(self.clients, num_classes, self.classes_per_client, stream.child("classes", attempt))
            if len(np.unique(given)) == num_classes:
                clients = np.repeat(np.arange(self.clients), self.classes_per_client)
                return [clients[of_class] for of_class in members_of(given.ravel(), num_classes)]
        nobody_s = num_classes * (1 - self.classes_per_client / num_classes) ** self.clients
        raise InputError(
            f"partition: {self.clients} clients of {self.classes_per_client} of {num_classes} classes leave "
            f"{nobody_s:.1f} classes to nobody on average, and did so in each of {_ATTEMPTS} draws; raise clients or "
            "classes_per_client"
        )
