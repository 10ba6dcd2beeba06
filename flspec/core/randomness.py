"""Named streams of random numbers that do not depend on call order, platform or numpy's version.

A stream is a Philox counter generator (Salmon et al., SC 2011) keyed by the SHA-256 of the experiment's seed and
the stream's name. Each use has its own name, so adding a use never shifts another. Rounds are part of the name, so a
longer run extends a shorter one. Only raw 64-bit words are taken from numpy: it guarantees that its bit generators
stay the same between versions, but not the methods of `numpy.random.Generator`. Each draw takes one word, without
rejection. Normal and Dirichlet values are SciPy's inverse distribution functions of uniform ones. Their last bits may
differ between SciPy's versions, so callers round them.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream"]

_WORDS_A_BLOCK = 4  # of Philox4x64: its counter counts blocks
_NONE_BUFFERED = np.zeros(_WORDS_A_BLOCK, np.uint64)


class _Philox(threading.local):
    """One generator a thread, set to a key and a counter for each draw: making one costs five times as much."""

    @cached_property
    def bits(self) -> np.random.Philox:  # not before it is drawn from: numpy.random takes long to import
        return np.random.Philox(0)


_philox = _Philox()


class Stream:
    """An endless sequence of random 64-bit words. Equal `(seed, *name)` give equal sequences."""

    def __init__(self, seed: int, *name: str | int) -> None:
        self.seed, self.name = seed, name
        self._key: NDArray[np.uint64] | None = None  # uint64 [2]; many streams only name others and never draw
        self._num_drawn = 0

    def child(self, *name: str | int) -> Stream:
        """Return the stream named by this one's name and `name`. This stream does not advance."""
        return Stream(self.seed, *self.name, *name)

    def words(self, count: int) -> NDArray[np.uint64]:
        """Draw `count` uniformly distributed 64-bit words."""
        if self._key is None:
            sha = hashlib.sha256(json.dumps([self.seed, *self.name]).encode()).digest()
            self._key = np.frombuffer(sha, "<u8", count=2)
        block, skipped = divmod(self._num_drawn, _WORDS_A_BLOCK)
        counter = np.array([block, 0, 0, 0], np.uint64)
        _philox.bits.state = {
            "bit_generator": "Philox",
            "state": {"counter": counter, "key": self._key},
            "buffer": _NONE_BUFFERED,
            "buffer_pos": _WORDS_A_BLOCK,
            "has_uint32": 0,
            "uinteger": 0,
        }
        self._num_drawn += count
        return np.asarray(_philox.bits.random_raw(skipped + count), dtype=np.uint64)[skipped:]

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Draw `count` multiples of 2^-53 in the open interval (0, 1).

        Each is the middle of one of 2^52 equal cells, so it is never 0 or 1.
        """
        return ((self.words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, count: int) -> NDArray[np.float64]:
        """Draw `count` standard normal values, by inversion."""
        from scipy.special import ndtri

        return np.asarray(ndtri(self.uniform(count)))

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Draw a random order of the numbers 0..count-1: the order that sorts `count` random words."""
        return np.argsort(self.words(count), kind="stable")

    def choice(self, population: int, size: int) -> NDArray[np.int64]:
        """Draw `size` different numbers from 0..population-1, ascending. Every such set is equally likely."""
        words = self.words(population)
        # The smallest words are those of the first in a random order. All but some more than `size` are above a limit,
        # so few have to be sorted: a fiftieth of the time for a thousand of a million.
        limit = (size + 6 * math.sqrt(size) + 40) / max(population, 1)
        few = np.flatnonzero(words < np.uint64(limit * 2**64)) if limit < 0.5 else np.arange(population)
        if len(few) < size:
            few = np.arange(population)
        return np.sort(few[np.argsort(words[few], kind="stable")[:size]])

    def dirichlet(self, alpha: float, count: int) -> NDArray[np.float64]:
        """Draw `count` shares that sum to 1, from the symmetric Dirichlet distribution of concentration `alpha`.

        They are independent Gamma(alpha) values by inversion, normalised. Below an alpha of about 0.002 all of these
        can round to zero or be undefined. The largest uniform draw then gets the whole share, which is the limit.
        """
        from scipy.special import gammaincinv

        draws = self.uniform(count)
        gammas = np.asarray(gammaincinv(alpha, draws))
        if not gammas.sum() > 0.0:
            return np.asarray(np.arange(count) == draws.argmax(), dtype=np.float64)
        return np.asarray(gammas / gammas.sum())
