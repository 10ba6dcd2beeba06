"""Noise of a round that follows from that of earlier ones, for differential privacy. In a spec:

parts: [my_noise_matrix.py]
cohort: {kind: cyclic_poisson, size: 2, groups: 2}
aggregator: {kind: fedavg, weighting: uniform}
privacy:
  kind: central
  clip: {kind: fixed, norm: 1.0}
  noise: {kind: my_noise_matrix, share: 0.5}
  noise_multiplier: 1.0
  delta: 0.01
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.round_streams import RoundStreams
from flspec.noise_matrices import NoiseMatrix
from flspec.noise_matrices.base import standard_normal
from flspec.samplers import Sampling


class MyNoiseMatrix(NoiseMatrix):
    """C[t, t] = a, C[t, t - 1] = a s, and 0 elsewhere. a makes a column's length 1: a^2 (1 + s^2) = 1.

    x_t = z_t / a - s x_(t-1) is the row t of C^-1 Z. The length of the columns is what epsilon is reckoned by, and
    nobody checks it: with longer ones a run tells more than it says.
    """

    kind: Literal["my_noise_matrix"] = "my_noise_matrix"
    share: Annotated[float, Field(ge=0, le=1, description="s: how much of its noise the next round takes back")] = 0.5

    @property
    def in_words(self) -> str:
        return f"two bands, {self.share:g} of a round's noise taken back"

    @property
    def num_remembered(self) -> int:
        return 1  # float64 tensors of each shape

    def noise(self, rounds: RoundStreams, name: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return this round's row of C^-1 Z. Z is drawn from the child `name` of each round's stream."""
        number, value = rounds.memory.get((self, name, shape), (0, np.zeros(shape)))
        if number > rounds.number:  # of another run
            number, value = 0, np.zeros(shape)
        for earlier in range(number + 1, rounds.number + 1):  # more than one after a run was resumed
            fresh = standard_normal(rounds.of(earlier).child(*name), shape) * math.sqrt(1 + self.share**2)
            value = fresh - self.share * value
        rounds.memory[self, name, shape] = rounds.number, value
        return np.asarray(value)

    def refusals(self, sampling: Sampling) -> Iterator[tuple[str, str]]:
        """Yield a field, or "", and why these cohorts are not covered: a client must not come in two rounds running."""
        if sampling.groups < 2:
            yield "", "a client may come again in the next round; take cohort: {kind: cyclic_poisson, groups: 2, ...}"
