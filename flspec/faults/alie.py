"""A little is enough: Baruch, Baruch and Goldberg, NeurIPS 2019, arXiv:1902.06156."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class ALittleIsEnough(UpdateFault):
    """mean - z * deviation of the honest updates, value by value (Algorithm 3), from every attacker.

    With n updates of which f are attacked, s = floor(n / 2) + 1 - f honest ones (at least 1) make a majority with them,
    and z = Phi^-1((n - f - s) / (n - f)) is as far as those s lie, if updates are normal. The deviation is that of the
    honest updates themselves: the root of the mean square. z is 0 if s is all honest ones. In a round without an honest
    update attackers send their own.
    """

    kind: Literal["alie"] = "alie"
    knows_all: ClassVar[bool] = True
    z: Annotated[
        float | None, Field(ge=-100, le=100, description="deviations from the mean; absent: as the paper computes it")
    ] = None

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        if not honest:
            return own
        z = self.z if self.z is not None else _farthest_unseen(len(own) + len(honest), len(own))
        sent = {}
        for name in own[0]:
            values = np.stack([update[name] for update in honest])
            sent[name] = values.mean(axis=0) - z * values.std(axis=0)
        return [sent] * len(own)


def _farthest_unseen(num: int, num_attacked: int) -> float:
    """Return z of `num` updates of which some are attacked."""
    from scipy.special import ndtri

    honest = num - num_attacked
    share = (honest - max(1, num // 2 + 1 - num_attacked)) / honest
    return float(ndtri(share)) if 0 < share < 1 else 0.0
