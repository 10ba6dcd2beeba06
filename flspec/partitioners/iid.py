"""Independent and identically distributed clients."""

from __future__ import annotations

from typing import Literal

import numpy as np

from flspec.data import Examples
from flspec.errors import InputError
from flspec.partitioners.base import Counted, Holdings
from flspec.randomness import Stream


class Iid(Counted):
    """Shuffle all examples and deal out equal shares; the first clients get one more where it does not divide."""

    kind: Literal["iid"] = "iid"

    def split(self, examples: Examples, stream: Stream) -> Holdings:
        if self.clients > len(examples):
            raise InputError(
                f"partition.clients is {self.clients}, but there are only {len(examples)} examples; "
                f"lower it to {len(examples)} or less"
            )
        return np.array_split(stream.permutation(len(examples)), self.clients)
