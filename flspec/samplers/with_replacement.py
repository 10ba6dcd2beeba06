"""Sampling with replacement: a client may be drawn several times in a round."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling


class WithReplacement(Sampler):
    """A fixed number of draws, each of any client, whoever was drawn before; a client trains once for each draw.

    A client that is drawn twice sends two updates, both from the weights of that round, each by batches of its own.
    pfl-research draws its cohorts so.
    """

    kind: Literal["with_replacement"] = "with_replacement"
    may_repeat = True
    size: Annotated[PositiveInt, Field(description="draws a round", examples=[2])]

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        return np.sort((stream.uniform(self.size) * num_clients).astype(np.int64))

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("with_replacement", self.size)
