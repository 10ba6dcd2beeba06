"""Updates that are no numbers: a client whose training overflowed, or that means harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.faults.base import UpdateFault
from flspec.protocol.updates import Delta


class NonFinite(UpdateFault):
    """Every value is NaN, or infinite. The server leaves such an update out, which a run without faults does, too."""

    kind: Literal["non_finite"] = "non_finite"
    loses_update = True
    value: Annotated[Literal["nan", "infinity"], Field(description="what each value is")] = "nan"

    def updates(self, own: Sequence[Delta], honest: Sequence[Delta], streams: Sequence[Stream]) -> Sequence[Delta]:
        bad = np.nan if self.value == "nan" else np.inf
        return [{name: np.full_like(value, bad) for name, value in delta.items()} for delta in own]
