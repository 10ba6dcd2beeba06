"""Half the bytes: IEEE 754 binary16."""

from __future__ import annotations

from typing import Literal

import numpy as np

from flspec.compressors.base import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights


class Float16(Compressor):
    """Each value rounded to the nearest of 16 bits, ties to even: off by at most 2^-11 of it, or 2^-25 near 0.

    A magnitude of 65,520 or more arrives as infinity.
    """

    kind: Literal["float16"] = "float16"

    def compress(self, delta: Weights, stream: Stream) -> Payload:
        with np.errstate(over="ignore"):
            return {name: value.astype(np.float16) for name, value in delta.items()}

    def restore(self, payload: Payload, like: Weights) -> Weights:
        return {name: payload[name].astype(np.float32) for name in like}
