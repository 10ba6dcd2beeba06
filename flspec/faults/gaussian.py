"""Noise in place of an update: Blanchard et al., NeurIPS 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class Gaussian(UpdateFault):
    """Independent normal values in place of Delta (Blanchard et al. 2017, section 5), or with `added` on top of it."""

    kind: Literal["gaussian"] = "gaussian"
    is_random: ClassVar[bool] = True
    deviation: Annotated[float, Field(gt=0, le=1e30, description="of each value", examples=[10.0])]
    added: Annotated[bool, Field(description="whether the client's own update is under the noise")] = False

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        return [self._noisy(delta, stream) for delta, stream in zip(own, streams, strict=True)]

    def _noisy(self, delta: Delta, stream: Stream) -> Delta:
        noise = {
            name: self.deviation * stream.child(name).normal(value.size).reshape(value.shape)
            for name, value in delta.items()
        }
        return {name: delta[name] + value for name, value in noise.items()} if self.added else noise
