"""Sampling by size: clients with more examples take part more often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, PrivateAttr

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling, why_too_large


class BySize(Sampler):
    """A fixed number of different clients, drawn one after the other, each with probability ~ its number of examples.

    Of n clients drawn so far, client k of the others is next with probability size_k / (sum of the others' sizes). The
    same set results from the largest u_k^(1 / size_k), u_k uniform (Efraimidis and Spirakis, Information Processing
    Letters 97, 2006). With `aggregator.weighting: examples` a large client would count twice, by coming often and by
    its weight; with `uniform` it counts once.
    """

    kind: Literal["by_size"] = "by_size"
    size: Annotated[PositiveInt, Field(description="clients a round", examples=[2])]
    _sizes: NDArray[np.int64] | None = PrivateAttr(None)

    def for_clients(self, sizes: NDArray[np.int64], root: Path) -> Sampler:
        known = self.model_copy()
        known._sizes = sizes
        return known

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        sizes = np.ones(num_clients) if self._sizes is None else self._sizes
        keys = np.log(stream.uniform(num_clients)) / sizes
        return np.sort(np.argsort(-keys, kind="stable")[: self.size])

    def why_invalid(self, num_clients: int) -> str | None:
        return why_too_large(self.size, num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("unknown", self.size)
