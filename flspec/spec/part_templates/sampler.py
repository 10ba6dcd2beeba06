"""A rule that draws each round's cohort. In a spec:

parts: [my_sampler.py]
cohort: {kind: my_sampler, size: 2}
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.randomness import Stream
from flspec.samplers import Sampler


class MySampler(Sampler):
    """A run of neighbouring clients, from a random one on."""

    kind: Literal["my_sampler"] = "my_sampler"
    size: Annotated[int, Field(ge=1, description="clients a round", examples=[2])]

    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the clients of a round, ascending; `stream` is for that round alone."""
        first = int(stream.permutation(num_clients)[0])
        return np.sort((first + np.arange(self.size)) % num_clients)

    def why_invalid(self, num_clients: int) -> str | None:
        """Return why no cohort can be drawn, with a way out; None if it can."""
        return None if self.size <= num_clients else f"cohort.size is {self.size}, of {num_clients} clients; lower it"
