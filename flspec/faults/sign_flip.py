"""Sign flipping: the direction that undoes what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class SignFlip(UpdateFault):
    """-scale * Delta in place of Delta (Li et al., RSA, AAAI 2019, arXiv:1811.03761)."""

    kind: Literal["sign_flip"] = "sign_flip"
    scale: Annotated[float, Field(gt=0, le=1e30, description="length in units of the client's own update")] = 1.0

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        return [{name: -self.scale * value for name, value in delta.items()} for delta in own]
