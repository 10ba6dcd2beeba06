"""A quarter of the bytes by stochastic rounding, as in QSGD: Alistarh et al., NeurIPS 2017, arXiv:1610.02132."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.compressors.base import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights

_LEVELS = 127


class Int8(Compressor):
    """Each value x of a tensor as a whole number q, and a float32 scale s of the tensor; q s is what arrives.

    s is max|x| / 127, rounded up: as QSGD with 127 levels (section 3.1), with the largest magnitude in place of the
    2-norm, as in that paper's experiments. q is floor(x / s) or one more, with probability x / s - floor(x / s), so
    that E[q s] = x and |q s - x| < s, each up to float32's rounding. Each tensor has a stream of its own.
    """

    kind: Literal["int8"] = "int8"
    is_random: ClassVar[bool] = True

    def compress(self, delta: Weights, stream: Stream) -> Payload:
        payload: dict[str, NDArray[np.generic]] = {}
        for name, value in delta.items():
            scale = _scale(value)
            payload[name] = _rounded(value, scale, stream.child(name))
            payload[_scale_of(name)] = np.array(scale, np.float32)
        return payload

    def restore(self, payload: Payload, like: Weights) -> Weights:
        return {name: payload[name].astype(np.float32) * payload[_scale_of(name)] for name in like}


def _scale_of(name: str) -> str:
    return f"{name}/scale"  # no tensor's own name has a slash


def _scale(value: NDArray[np.float32]) -> np.float32:
    """Return the least float32 of which 127 are at least the largest magnitude; NaN if a value is not finite."""
    largest = float(np.abs(value).max(initial=0.0))
    if not np.isfinite(largest):
        return np.float32(np.nan)
    scale = np.float32(largest / _LEVELS)
    return scale if float(scale) * _LEVELS >= largest else np.nextafter(scale, np.float32(np.inf))


def _rounded(value: NDArray[np.float32], scale: np.float32, stream: Stream) -> NDArray[np.int8]:
    """Return the whole numbers, of the tensor's shape; zeros if there is no scale to divide by."""
    if not scale > 0:
        return np.zeros(value.shape, np.int8)
    exact = value.astype(np.float64) / float(scale)
    below = np.floor(exact)
    is_up = stream.uniform(value.size).reshape(value.shape) < exact - below
    return (below + is_up).astype(np.int8)
