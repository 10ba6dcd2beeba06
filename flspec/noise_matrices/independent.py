"""Other noise in each round: C is the identity."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.round_streams import RoundStreams
from flspec.noise_matrices.base import NoiseMatrix, standard_normal


class Independent(NoiseMatrix):
    """Independent noise in each round (DP-FedAvg)."""

    kind: Literal["independent"] = "independent"

    def noise(self, rounds: RoundStreams, name: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
        return standard_normal(rounds.current.child(*name), shape)
