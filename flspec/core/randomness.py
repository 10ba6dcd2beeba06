"""Named streams of random numbers that do not depend on call order, platform or numpy's version.

A stream is a Philox counter generator (Salmon et al., SC 2011) keyed by the SHA-256 of the experiment's seed and
the stream's name. Each use has its own name, so adding a use never shifts another, and rounds are part of the
name, so a longer run extends a shorter one. Only raw 64-bit words are taken from numpy, whose bit generators are
guaranteed stable; `numpy.random.Generator`'s methods are not. Everything below is one word a draw, without
rejection; normal and Dirichlet values are inverse distribution functions of SciPy, whose last bits may differ between
its versions, so whoever uses them rounds.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream"]


class Stream:
    """An endless sequence of 64-bit words named by `(seed, *name)`; equal names give equal sequences."""

    def __init__(self, seed: int, *name: str | int) -> None:
        self.seed, self.name = seed, name
        key = hashlib.sha256(json.dumps([seed, *name]).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(key[:16], "little"))

    def child(self, *name: str | int) -> Stream:
        """The stream of a part of this stream's purpose; does not advance this one."""
        return Stream(self.seed, *self.name, *name)

    def words(self, count: int) -> NDArray[np.uint64]:
        """`count` uniformly distributed 64-bit words."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` multiples of 2^-53 in the open interval (0, 1): each is a cell's middle, so never 0 or 1."""
        return ((self.words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, count: int) -> NDArray[np.float64]:
        """`count` standard normal values, by inversion."""
        from scipy.special import ndtri

        return np.asarray(ndtri(self.uniform(count)))

    def permutation(self, count: int) -> NDArray[np.int64]:
        """The numbers 0..count-1 in random order: the order of `count` random words."""
        return np.argsort(self.words(count), kind="stable")

    def choice(self, population: int, size: int) -> NDArray[np.int64]:
        """`size` different numbers from 0..population-1, ascending; every such set is equally likely."""
        return np.sort(self.permutation(population)[:size])

    def dirichlet(self, alpha: float, count: int) -> NDArray[np.float64]:
        """`count` shares that sum to 1, from the symmetric Dirichlet distribution of concentration `alpha`.

        Independent Gamma(alpha) values by inversion, normalised. Below alpha of about 0.002 all of them can
        round to zero (or be undefined); the whole share then goes to the largest underlying draw, which is the limit.
        """
        from scipy.special import gammaincinv

        draws = self.uniform(count)
        gammas = np.asarray(gammaincinv(alpha, draws))
        if not gammas.sum() > 0.0:
            return np.asarray(np.arange(count) == draws.argmax(), dtype=np.float64)
        return np.asarray(gammas / gammas.sum())
