"""An update that is larger than what was learned: model replacement, Bagdasaryan et al., AISTATS 2020."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class Scaled(UpdateFault):
    """factor * Delta in place of Delta (arXiv:1807.00459, Equation 3); with 0 a client sends no change."""

    kind: Literal["scaled"] = "scaled"
    factor: Annotated[float, Field(ge=-1e30, le=1e30, description="times the client's update", examples=[10.0])]

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        return [{name: self.factor * value for name, value in delta.items()} for delta in own]
