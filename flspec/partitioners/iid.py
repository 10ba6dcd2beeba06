"""Independent and identically distributed clients."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flspec.errors import InputError
from flspec.partitioners.base import Partitioner
from flspec.randomness import Stream


class Iid(Partitioner):
    """Shuffle all examples and deal out equal shares; the first clients get one more where it does not divide."""

    kind: Literal["iid"] = "iid"

    def split(self, labels: NDArray[np.int64], num_classes: int, stream: Stream) -> list[NDArray[np.int64]]:
        if self.clients > len(labels):
            raise InputError(
                f"partition.clients is {self.clients}, but there are only {len(labels)} examples; "
                f"lower it to {len(labels)} or less"
            )
        return np.array_split(stream.permutation(len(labels)), self.clients)
