"""Clients of different sizes, drawn from a log-normal distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners.base import ClientIndices, Count, Counted
from flspec.partitioners.dealing import apportion, cut


class QuantitySkew(Counted, ABC):
    """A partitioner that draws sizes, and fills them with random examples."""

    min_examples: Annotated[
        Count, Field(description="examples that every client has; the others are dealt by the drawn sizes")
    ] = 1

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        self.check_enough(len(examples), self.min_examples)
        left = len(examples) - self.clients * self.min_examples
        sizes = self.min_examples + apportion(self._shares(stream.child("sizes")), left)
        return cut(stream.child("order").permutation(len(examples)), sizes, len(examples))

    @abstractmethod
    def _shares(self, stream: Stream) -> NDArray[np.float64]:
        """Return each client's share, in proportion, of the examples beyond the minimums."""


class LogNormal(QuantitySkew):
    """Examples are dealt at random to clients whose sizes are log-normal: ln s_k ~ N(0, sigma²).

    Client k has min_examples + r s_k / sum(s) examples, where r is the number of examples that the minimums leave.
    Every example is used.
    """

    kind: Literal["log_normal"] = "log_normal"
    sigma: Annotated[
        float,
        Field(ge=0, le=20, description="standard deviation of ln(size); 0 is even, large is skewed", examples=[1.0]),
    ]

    def _shares(self, stream: Stream) -> NDArray[np.float64]:
        logs = self.sigma * stream.normal(self.clients)
        return np.asarray(np.exp(logs - logs.max()))
