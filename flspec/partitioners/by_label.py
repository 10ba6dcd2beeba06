"""One label a client, as in the first TensorFlow Federated tutorial."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.errors import InputError
from flspec.partitioners.base import ClientIndices, Counted


class ByLabel(Counted):
    """Client i holds the first `examples_per_client` examples of label i, in file order; nothing is drawn."""

    kind: Literal["by_label"] = "by_label"
    examples_per_client: Annotated[
        PositiveInt | None,
        Field(description="how many of its label's examples a client holds; all if absent"),
    ] = None

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        labels, num_classes = examples.classes("partition")
        if self.clients > num_classes:
            raise InputError(
                f"partition.clients is {self.clients}, but by_label gives each client one of {num_classes} labels; "
                f"lower it to {num_classes} or less"
            )
        members = [np.flatnonzero(labels == label) for label in range(self.clients)]
        wanted = self.examples_per_client or 1
        for label, examples_of_label in enumerate(members):
            if not len(examples_of_label):
                raise InputError(
                    f"partition.clients is {self.clients}, but there is no example of label {label}, which is all that "
                    f"client {label} would hold; use another partition, or fewer clients"
                )
            if len(examples_of_label) < wanted:
                raise InputError(
                    f"partition.examples_per_client is {wanted}, but label {label} has {len(examples_of_label)} "
                    f"examples; lower it to {min(map(len, members))} or less"
                )
        return [examples_of_label[: self.examples_per_client] for examples_of_label in members]
