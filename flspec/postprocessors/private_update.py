"""The Gaussian mechanism on each client's update: local differential privacy.

What it gives is accounted for by `flspec.privacy`; a spec that wants privacy names it there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.postprocessors.base import Postprocessor
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta, norm_of


class PrivateUpdate(Postprocessor):
    """Delta * min(1, C / ||Delta||) + N(0, (z C)^2), in float64, with other noise for each client and round.

    The norm is of all tensors together. It is what the client would do before it sends, carried out with the server, so
    that every engine does the same.
    """

    kind: Literal["private_update"] = "private_update"
    is_random = True

    norm: Annotated[float, Field(gt=0, le=1e12, description="C, the largest norm that stays unchanged", examples=[1.0])]
    noise_multiplier: Annotated[
        float, Field(ge=0, le=1e6, description="z, the deviation of the noise in units of the norm", examples=[1.0])
    ]

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        length = norm_of(delta)
        scale, deviation = min(1.0, self.norm / length) if length else 1.0, self.noise_multiplier * self.norm
        return {
            name: value * scale + deviation * stream.child(name).normal(value.size).reshape(value.shape)
            for name, value in delta.items()
        }
