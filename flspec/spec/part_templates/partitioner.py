"""A split of the training examples over clients. In a spec:

parts: [my_partitioner.py]
partition: {kind: my_partitioner, clients: 4}
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.data.examples import Examples
from flspec.partitioners import ClientIndices
from flspec.partitioners.base import Counted


class MyPartitioner(Counted):
    """Sort by label, then give client i every `clients`-th example from the i-th on."""

    kind: Literal["my_partitioner"] = "my_partitioner"
    # Fields are the keys of the section. `Counted` has `clients`.
    skip: Annotated[int, Field(ge=0, description="examples left out at the start")] = 0

    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        labels, _ = examples.classes("partition")  # int64 [num_examples]
        order = np.argsort(labels, kind="stable")[self.skip :]  # draw only from `stream`, if anything is drawn
        return [order[client :: self.clients] for client in range(self.clients)]  # disjoint, none empty
