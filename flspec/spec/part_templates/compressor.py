"""A compressor: what a client sends in place of its update, in fewer bytes. In a spec:

parts: [my_compressor.py]
compression: {kind: my_compressor, factor: 1.0, error_feedback: true}
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.compressors import Compressor, Payload
from flspec.core.randomness import Stream
from flspec.protocol.named_records import Weights


class MyCompressor(Compressor):
    """Of each value its sign, and of each tensor the mean magnitude."""

    kind: Literal["my_compressor"] = "my_compressor"
    factor: Annotated[float, Field(gt=0, le=1e3, description="of the mean magnitude, as it arrives", examples=[1.0])]

    def compress(self, delta: Weights, stream: Stream) -> Payload:
        """Return what is sent, arrays by name, always of the same size. To draw, the class says `is_random = True`."""
        signs = {name: np.where(value < 0, -1, 1).astype(np.int8) for name, value in delta.items()}
        return signs | {f"{name}/size": np.abs(value).mean() for name, value in delta.items()}

    def restore(self, payload: Payload, like: Weights) -> Weights:
        """Return the update that the server takes from it: a tensor for each of `like`, of its shape."""
        return {name: np.float32(self.factor) * payload[f"{name}/size"] * payload[name] for name in like}
