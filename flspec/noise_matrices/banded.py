"""Noise of which later rounds take back a part: banded matrix factorisation, the successor of DP-FTRL.

Choquette-Choo et al., NeurIPS 2023, arXiv:2306.08153. The matrix is the banded square root of Kalinin and Lampert,
NeurIPS 2024, arXiv:2405.13763: the square root of the matrix of sums over rounds, cut to a few bands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.round_streams import RoundStreams
from flspec.noise_matrices.base import NoiseMatrix, standard_normal
from flspec.samplers import Sampling

_MOST_BANDS = 256  # memory for so many times the weights, in float64


class Banded(NoiseMatrix):
    """C[t, s] = c_(t-s) for t - s < bands, and 0 elsewhere; c_k is proportional to binom(2k, k) / 4^k.

    The c_k are scaled so that a column has the length 1. A round's noise is x_t = (z_t - sum_k c_k x_(t-k)) / c_0, k
    from 1 to bands - 1. Rounds that have a client in common must be `bands` apart or more: no row of C then has more
    than one of its columns.
    """

    kind: Literal["banded"] = "banded"
    goes_with: ClassVar[dict[str, Any]] = {"cohort": {"kind": "cyclic_poisson", "groups": 4}}
    bands: Annotated[
        int, Field(ge=1, le=_MOST_BANDS, description="rounds over which noise is spread; 1: independent", examples=[4])
    ]

    @property
    def coefficients(self) -> tuple[float, ...]:
        """c_0, c_1, ..., of which the squares add up to 1."""
        roots = [math.comb(2 * k, k) / 4**k for k in range(self.bands)]
        length = math.sqrt(math.fsum(root**2 for root in roots))
        return tuple(root / length for root in roots)

    @property
    def in_words(self) -> str:
        return f"banded matrix factorization, {self.bands} bands" if self.bands > 1 else ""

    @property
    def num_remembered(self) -> int:
        return self.bands

    def noise(self, rounds: RoundStreams, name: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
        first, *others = self.coefficients
        key = (self, name, shape)
        number, latest = rounds.memory.get(key, (0, ()))  # the last round, and its noise and that of those before
        if number > rounds.number:
            number, latest = 0, ()
        for earlier in range(number + 1, rounds.number + 1):
            value = standard_normal(rounds.of(earlier).child(*name), shape)
            for coefficient, before in zip(others, latest, strict=False):
                value -= coefficient * before
            latest = (value / first, *latest)[: self.bands]
        rounds.memory[key] = rounds.number, latest
        return np.asarray(latest[0])

    def refusals(self, sampling: Sampling) -> Iterator[tuple[str, str]]:
        if self.bands == 1:
            return
        way_out = f"take cohort: {{kind: cyclic_poisson, groups: {self.bands}, ...}}"
        if sampling.kind != "cyclic_poisson":
            yield "", f"is banded, but a client may come again within {self.bands} rounds; {way_out}, or independent"
        elif sampling.groups < self.bands:
            few = f"is {self.bands}, but a client may come again after {sampling.groups} rounds (cohort.groups)"
            yield "bands", f"{few}; lower it, or {way_out}"
