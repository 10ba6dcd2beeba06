"""The one question a partitioner answers: which examples does each client hold?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.components import Component
from flspec.randomness import Stream

__all__ = ["Partitioner"]


class Partitioner(Component, ABC):
    """A rule that gives every client its own examples."""

    clients: Annotated[int, Field(ge=1, le=10_000_000, description="number of clients", examples=[10])]

    @abstractmethod
    def split(self, labels: NDArray[np.int64], num_classes: int, stream: Stream) -> list[NDArray[np.int64]]:
        """Return, for each client, the indices of its examples into `labels`: disjoint and non-empty.

        Raises InputError, with the arithmetic, when the data cannot be split so.
        """
