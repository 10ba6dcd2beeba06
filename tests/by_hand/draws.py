"""flspec's planned draws from their definition, in Python's whole numbers alone.

A stream has a seed and a name. Its words come from Philox4x64-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011, Section 3.3 and Table 3), keyed by the first 128 bits of the SHA-256 of
`[seed, *name]` as JSON, from counter 1 on, each block of four words in order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import count, islice

_MASK = 2**64 - 1
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # the golden ratio, and the root of 3 less 1
Name = str | int


def block(counter: int, key: int) -> tuple[int, int, int, int]:
    """Ten rounds of Philox4x64 of a 256-bit counter under a 128-bit key."""
    x0, x1, x2, x3 = (counter >> shift & _MASK for shift in (0, 64, 128, 192))
    k0, k1 = key & _MASK, key >> 64
    for _ in range(10):
        low, high = _MULTIPLIERS[0] * x0, _MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = high >> 64 ^ x1 ^ k0, high & _MASK, low >> 64 ^ x3 ^ k1, low & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return x0, x1, x2, x3


def words(number: int, seed: int, *name: Name) -> list[int]:
    """The first words of a stream."""
    key = int.from_bytes(hashlib.sha256(json.dumps([seed, *name]).encode()).digest()[:16], "little")
    return list(islice(_words(key), number))


def uniforms(number: int, seed: int, *name: Name) -> list[float]:
    """The first uniform values of a stream: the middles of 2^52 equal cells of (0, 1)."""
    return [((word >> 12) + 0.5) / 2**52 for word in words(number, seed, *name)]


def order(number: int, seed: int, *name: Name) -> list[int]:
    """A random order of 0, 1, ...: that which sorts the stream's words."""
    drawn = words(number, seed, *name)
    return sorted(range(number), key=lambda place: drawn[place])


def _words(key: int) -> Iterator[int]:
    for counter in count(1):
        yield from block(counter, key)
