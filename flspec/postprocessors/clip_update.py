"""A bound on the norm of each client's update, "flat clipping": McMahan et al., ICLR 2018, arXiv:1710.06963."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.postprocessors.base import Postprocessor
from flspec.protocol.named_records import Weights
from flspec.protocol.updates import Delta, norm_of


class ClipUpdate(Postprocessor):
    """Delta * min(1, norm / ||Delta||), with the Euclidean norm of all tensors together, in float64.

    Alone it bounds the effect of one client on the mean. It gives no privacy: no noise is drawn, and the clients'
    shares stay the same.
    """

    kind: Literal["clip_update"] = "clip_update"
    norm: Annotated[float, Field(gt=0, le=1e12, description="largest norm that stays unchanged", examples=[1.0])]

    def on_each(self, delta: Delta, record: Weights, stream: Stream) -> Delta:
        length = norm_of(delta)
        return {name: value * (self.norm / length) for name, value in delta.items()} if length > self.norm else delta
