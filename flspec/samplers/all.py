"""Full participation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.samplers.base import Sampler, Sampling


class All(Sampler):
    """Every client takes part in every round."""

    kind: Literal["all"] = "all"

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        return np.arange(num_clients)

    def sampling(self, num_clients: int) -> Sampling:
        return Sampling("everybody", num_clients)
