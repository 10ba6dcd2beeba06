"""A bound that follows a quantile of the updates' norms: Andrew et al., NeurIPS 2021, arXiv:1905.03871, Algorithm 1."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from flspec.update_clips.base import LARGEST_NORM, SMALLEST_NORM, UpdateClip

_COUNT_NOISE = 1 / 20  # of the cohort, as the paper's section 3.1 suggests


class Adaptive(UpdateClip):
    """C <- C exp(-rate (b - quantile)), where b is the noised share of the cohort whose norm is at most C.

    Where more clients than the quantile are within the bound, it falls. A client sends whether it is within as +1/2 or
    -1/2, so that adding or removing one moves the count by 1/2. The noise on it has a deviation of `count_noise`
    clients, by default a twentieth of the expected cohort. b is kept within 0 and 1: a round moves C by at most
    exp(rate * quantile) up and exp(-rate (1 - quantile)) down.
    """

    kind: Literal["adaptive"] = "adaptive"
    initial: Annotated[float, Field(ge=SMALLEST_NORM, le=LARGEST_NORM, description="norm in the first round")] = 0.1
    quantile: Annotated[float, Field(gt=0, lt=1, description="share of the clients that are to be within the norm")] = (
        0.5
    )
    rate: Annotated[float, Field(gt=0, le=10, description="how fast it follows")] = 0.2
    noise_on_count: Annotated[
        float | None, Field(gt=0, description="deviation of the noise on the count; absent: a twentieth of the cohort")
    ] = None

    @property
    def first_norm(self) -> float:
        return self.initial

    def count_noise(self, cohort: float) -> float:
        return self.noise_on_count or cohort * _COUNT_NOISE

    def next_norm(self, norm: float, share_within: float) -> float:
        followed = norm * math.exp(-self.rate * (min(max(share_within, 0.0), 1.0) - self.quantile))
        return min(max(followed, SMALLEST_NORM), LARGEST_NORM)  # where all updates are zero it would reach zero
