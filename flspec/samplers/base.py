"""The interface of a sampler: which clients take part in a round."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.core.randomness import Stream

__all__ = ["Sampler"]


class Sampler(Component, ABC):
    """A rule that chooses each round's cohort."""

    @abstractmethod
    def cohort(self, num_clients: int, stream: Stream) -> NDArray[np.int64]:
        """Return the clients of one round, ascending; `stream` belongs to that round alone."""

    def why_invalid(self, num_clients: int) -> str | None:
        """Return why no cohort can be drawn from `num_clients` clients, or None."""
        return None
