"""The interface of a noise matrix: what a round adds to its sum, from independent noise of all rounds until then.

With a lower triangular matrix C, the rounds get the rows of C^-1 Z, where Z is independent noise. What is released is
then a function of C X + Z, X being the sums of the rounds, so a client costs what its columns of C are long (Denisov et
al., NeurIPS 2022, arXiv:2202.08312). Weights are sums over rounds, of which a good C takes back noise that earlier
rounds added.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component, broken_promise
from flspec.core.randomness import Stream
from flspec.core.round_streams import RoundStreams
from flspec.errors import RunError
from flspec.samplers import Sampling

__all__ = ["NoiseMatrix", "noise_of", "standard_normal"]


class NoiseMatrix(Component, ABC):
    """A lower triangular matrix C whose longest column has the length 1, so that noise is told in units of the clip."""

    @property
    def in_words(self) -> str:
        """How the noise of a round depends on that of earlier ones, for a sentence; empty if it does not."""
        return ""

    @property
    def num_remembered(self) -> int:
        """How many float64 tensors of each shape it keeps in memory between rounds."""
        return 0

    @abstractmethod
    def noise(self, rounds: RoundStreams, name: tuple[str, ...], shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return this round's row of C^-1 Z, in units of the noise. Z is drawn from the child `name` of each round."""

    def refusals(self, sampling: Sampling) -> Iterator[tuple[str, str]]:
        """Yield a field, or "", and why an accountant that is told these cohorts would not cover the noise."""
        return iter(())


def noise_of(
    matrix: NoiseMatrix, rounds: RoundStreams, name: tuple[str, ...], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return a round's row of a matrix's C^-1 Z. Raises RunError if it is of another shape, or not finite."""
    noise = np.asarray(matrix.noise(rounds, name, shape))
    if noise.shape != shape or noise.dtype != np.float64:
        what = f"gave {noise.dtype} of shape {list(noise.shape)}, not float64 of {list(shape)}"
        raise RunError(broken_promise(matrix, "noise", what))
    if not np.isfinite(noise).all():
        raise RunError(broken_promise(matrix, "noise", "gave values that are not finite"))
    return noise


def standard_normal(stream: Stream, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw independent standard normal values."""
    return stream.normal(math.prod(shape)).reshape(shape)
