"""Uniform sampling of a fixed number of clients."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling, why_too_large


class Uniform(Sampler):
    """A fixed number of different clients, drawn anew each round; every such set is equally likely."""

    kind: Literal["uniform"] = "uniform"
    size: Annotated[PositiveInt, Field(description="clients a round", examples=[2])]

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        return stream.choice(num_clients, self.size)

    def why_invalid(self, num_clients: int) -> str | None:
        return why_too_large(self.size, num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("fixed_size", self.size)
