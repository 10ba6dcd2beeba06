"""The interface of a partitioner: the examples of each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flspec.core.components import Component
from flspec.core.randomness import Stream
from flspec.errors import InputError

if TYPE_CHECKING:
    from flspec.data.examples import Examples

__all__ = ["ByClass", "ClientIndices", "Count", "Counted", "Partitioner"]

ClientIndices = Sequence[NDArray[np.int64]]  # for each client, the indices of its examples
Count = Annotated[int, Field(ge=1, le=10**9)]


class Partitioner(Component, ABC):
    """A rule that gives every client its own examples."""

    holdout: Annotated[
        float,
        Field(ge=0, lt=1, description="share of each client's examples that it does not train on but is evaluated on"),
    ] = 0.0
    holdout_by: Annotated[
        str | None,
        Field(description="column whose values are held out whole, as patient_id"),
    ] = None

    @abstractmethod
    def split(self, examples: Examples, stream: Stream) -> ClientIndices:
        """Return, for each client, the indices of its examples: disjoint and non-empty.

        Raises InputError, with the arithmetic, when the examples cannot be split so.
        """

    @property
    def num_clients(self) -> int | None:
        """The number of clients, or None if it depends on the examples."""
        return None

    def whole(self, examples: Examples) -> str | None:
        """Return the column whose values are promised to stay whole: all examples of a value with one client. None if
        no column.
        """
        return None

    def remarks(self, sizes: NDArray[np.int64]) -> Sequence[str]:
        """Return remarks on clients of these sizes, where they differ from what the spec asks for."""
        return ()


class Counted(Partitioner, ABC):
    """A partitioner with a given number of clients."""

    clients: Annotated[int, Field(ge=1, le=10_000_000, description="number of clients", examples=[10])]

    @property
    def num_clients(self) -> int:
        return self.clients

    def check_enough(self, num_examples: int, least: int = 1) -> None:
        """Raise InputError if there are fewer than `least` examples for every client."""
        needed = self.clients * least
        if needed <= num_examples:
            return
        if least == 1:
            raise InputError(
                f"partition.clients is {self.clients}, but there are only {num_examples} examples; "
                f"lower it to {num_examples} or less"
            )
        raise InputError(
            f"partition: {self.clients} clients of at least {least} examples need {needed}, but there are "
            f"{num_examples}; lower clients or min_examples"
        )


class ByClass(Counted, ABC):
    """A partitioner that treats the examples of each class alike."""

    column: Annotated[
        str | None,
        Field(description="column whose values are the classes; the label if absent"),
    ] = None

    def classes(self, examples: Examples) -> tuple[NDArray[np.int64], int]:
        """Return the class of each example, and the number of classes.

        Raises InputError if there are more clients than examples, or too many for a table of clients by classes.
        """
        self.check_enough(len(examples))
        codes, num_classes = examples.classes("partition" if self.column is None else "partition.column", self.column)
        if self.clients * num_classes > _MOST_ENTRIES:
            raise InputError(
                f"partition: {self.clients:,} clients by {num_classes:,} classes are "
                f"{self.clients * num_classes:,} shares, but the limit is {_MOST_ENTRIES:,}; lower "
                "clients, or choose a column with fewer values"
            )
        return codes, num_classes


_MOST_ENTRIES = 2**27
