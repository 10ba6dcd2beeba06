"""Inner product manipulation: Xie, Koyejo and Gupta, Fall of Empires, UAI 2019, arXiv:1903.03936."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class InnerProductManipulation(UpdateFault):
    """-epsilon times the mean of the honest updates, each counting the same (section 4), from every attacker.

    A small epsilon hides among honest updates, and a large one turns the mean round. In a round without an honest
    update attackers send zero.
    """

    kind: Literal["ipm"] = "ipm"
    knows_all: ClassVar[bool] = True
    epsilon: Annotated[float, Field(gt=0, le=1e30, description="length in units of the honest mean")] = 0.5

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        sent = {
            name: -self.epsilon * sum((other[name] for other in honest), 0.0 * value) / max(1, len(honest))
            for name, value in own[0].items()
        }
        return [sent] * len(own)
