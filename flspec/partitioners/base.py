"""The one question a partitioner answers: which examples does each client hold?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.components import Component
from flspec.data import Examples
from flspec.randomness import Stream

__all__ = ["Counted", "Holdings", "Partitioner"]

Holdings = list[NDArray[np.int64]]  # for each client, the indices of its examples


class Partitioner(Component, ABC):
    """A rule that gives every client its own examples."""

    held_out: Annotated[
        float,
        Field(ge=0, lt=1, description="share of each client's examples that it does not train on but is evaluated on"),
    ] = 0.0
    held_out_by: Annotated[
        str | None,
        Field(description="column of which all examples of one value are held out together, as patient_id"),
    ] = None

    @abstractmethod
    def split(self, examples: Examples, stream: Stream) -> Holdings:
        """Return, for each client, the indices of its examples: disjoint and non-empty.

        Raises InputError, with the arithmetic, when the examples cannot be split so.
        """

    @property
    def num_clients(self) -> int | None:
        """How many clients there will be, or None if only the examples tell."""
        return None


class Counted(Partitioner, ABC):
    """A partitioner that is told how many clients there are."""

    clients: Annotated[int, Field(ge=1, le=10_000_000, description="number of clients", examples=[10])]

    @property
    def num_clients(self) -> int:
        return self.clients
