"""Poisson sampling: each client decides for itself by a coin, which is what most privacy accountants assume."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling, why_too_large


class Poisson(Sampler):
    """Each client takes part in each round with probability size / clients, independently of all others.

    Cohorts differ in size, and may be empty: with 10 clients and a size of 1, a third of the rounds are.
    """

    kind: Literal["poisson"] = "poisson"
    may_be_empty = True
    size: Annotated[PositiveInt, Field(description="expected number of clients a round", examples=[2])]

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        return np.flatnonzero(stream.uniform(num_clients) < self.size / num_clients)

    def why_invalid(self, num_clients: int) -> str | None:
        return why_too_large(self.size, num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("poisson", self.size)


class TruncatedPoisson(Poisson):
    """Poisson sampling of which at most `most` clients stay, every such set being equally likely (arXiv:2508.15089).

    It bounds a round's memory and time. With `most` at size + 4 sqrt(size) hardly a cohort is cut, and the privacy that
    it costs is a few percent; with `most` at the size itself half are, at several times the epsilon.
    """

    kind: Literal["truncated_poisson"] = "truncated_poisson"  # type: ignore[assignment]
    most: Annotated[
        PositiveInt | None, Field(description="largest cohort; absent: size + 4 sqrt(size), rounded up")
    ] = None

    @property
    def largest(self) -> int:
        """The largest cohort."""
        return self.most or math.ceil(self.size + 4 * math.sqrt(self.size))

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        drawn = super().cohort(num_clients, stream)
        if len(drawn) <= self.largest:
            return drawn
        return drawn[stream.child("truncated").choice(len(drawn), self.largest)]

    def why_invalid(self, num_clients: int) -> str | None:
        if self.largest < self.size:
            return f"cohort.most is {self.most}, less than cohort.size, {self.size}; raise it or leave it out"
        return super().why_invalid(num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("truncated_poisson", self.size, self.largest)
