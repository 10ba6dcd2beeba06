"""Clients in turn."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling, why_too_large


class RoundRobin(Sampler):
    """Clients in a circle: each round takes the next `size` of them, so that none comes again before all have come.

    Where `size` does not divide the clients, a round has the last of one turn and the first of the next.
    """

    kind: Literal["round_robin"] = "round_robin"
    size: Annotated[PositiveInt, Field(description="clients a round", examples=[2])]
    shuffle: Annotated[bool, Field(description="an order drawn once, or that of the clients' numbers")] = True

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the first cohort."""
        return self.cohort_of(1, num_clients, stream)

    def cohort_of(self, number: int, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        order = stream.child("circle").permutation(num_clients) if self.shuffle else np.arange(num_clients)
        places = ((number - 1) * self.size + np.arange(self.size)) % num_clients
        return np.sort(order[places])

    def why_invalid(self, num_clients: int) -> str | None:
        return why_too_large(self.size, num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("unknown", self.size)
