"""One label a client, as in the first TensorFlow Federated tutorial."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from flspec.errors import InputError
from flspec.partitioners.base import Partitioner
from flspec.randomness import Stream


class ByLabel(Partitioner):
    """Client i holds the first `examples_per_client` examples of label i, in file order; nothing is drawn."""

    kind: Literal["by_label"] = "by_label"
    examples_per_client: Annotated[
        PositiveInt | None,
        Field(description="how many of its label's examples a client holds; all if absent"),
    ] = None

    def split(self, labels: NDArray[np.int64], num_classes: int, stream: Stream) -> list[NDArray[np.int64]]:
        if self.clients > num_classes:
            raise InputError(
                f"partition.clients is {self.clients}, but by_label gives each client one of {num_classes} labels; "
                f"lower it to {num_classes} or less"
            )
        held = [np.flatnonzero(labels == label) for label in range(self.clients)]
        wanted = self.examples_per_client or 1
        for label, examples in enumerate(held):
            if not len(examples):
                raise InputError(
                    f"partition.clients is {self.clients}, but there is no example of label {label}, which is all that "
                    f"client {label} would hold; use another partition, or fewer clients"
                )
            if len(examples) < wanted:
                raise InputError(
                    f"partition.examples_per_client is {wanted}, but label {label} has {len(examples)} examples; "
                    f"lower it to {min(map(len, held))} or less"
                )
        return [examples[: self.examples_per_client] for examples in held]
