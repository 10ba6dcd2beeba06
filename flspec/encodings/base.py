"""Base class of encodings: what becomes of a column of a table before a model gets it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.data.column_types import Cells, is_whole

__all__ = ["Column", "Encoding", "Given", "Gives", "Takes", "Unencodable", "in_order"]

Column = (
    NDArray[np.float64] | Cells
)  # numbers [num_rows, num_values], NaN if missing; or texts [num_rows], "" if missing
Given = Literal["numbers", "categories", "texts"]  # what an encoding works on
Takes = Given | Literal["either"]
Gives = Literal["numbers", "tokens"]


class Unencodable(Exception):
    """Values that an encoding cannot work on: why, a way out, and the first such row, from 0, if it is one row's."""

    def __init__(self, why: str, way_out: str, row: int | None = None) -> None:
        super().__init__(f"{why}; {way_out}")
        self.row = row


class Encoding(Component, ABC):
    """A rule that converts a column of a table; what it needs to know of the data, it takes from training examples."""

    main: ClassVar[str] = ""  # the parameter that {KIND: VALUE} means
    gives: ClassVar[Gives] = "numbers"  # "tokens": numbers that stand for something, and measure nothing

    @property
    def takes(self) -> Takes:
        """What it works on. "either": it gives the same back."""
        return "numbers"

    def fitted(self, values: Column) -> Self:
        """Return this encoding with all that it takes from training examples as parameters. Raises Unencodable."""
        return self

    @abstractmethod
    def encoded(self, values: Any) -> Column:
        """Return the values of any examples, encoded; called on what `fitted` returned. Raises Unencodable."""

    def beside(self, values: Column) -> NDArray[np.float64] | None:
        """Return further numbers [num_rows, num] that no later encoding works on; None if there are none."""
        return None

    def outputs(self, names: list[str]) -> list[str]:
        """Return the names of what `encoded` gives of values with these names."""
        return names


def in_order(texts: Iterable[str]) -> list[str]:
    """Return categories in their order: that of numbers if all are whole, else that of texts."""
    found = list(texts)
    return sorted(found, key=int) if all(map(is_whole, found)) else sorted(found)
