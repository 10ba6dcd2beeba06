"""Roles of the columns in data sets of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator

from flspec.core.components import Component
from flspec.errors import InputError, choose, shorten

__all__ = ["TableColumns"]

_Name = Annotated[str, Field(min_length=1, max_length=256)]


class TableColumns(Component):
    """Parameters of data sets of tables: the columns of labels, features and clients."""

    label: Annotated[_Name, Field(description="column of labels: integers from 0, or names")] = "label"
    features: Annotated[
        tuple[_Name, ...] | None,
        Field(min_length=1, description="columns of numbers that a model gets, in this order; if absent, all others"),
    ] = None
    client: Annotated[
        _Name | None,
        Field(description="column with the client of each example; if absent, `client` if there is one"),
    ] = None
    columns: Annotated[tuple[_Name, ...], Field(description="columns to keep, for partitions and groups")] = ()
    holdout: Annotated[
        float | None,
        Field(gt=0, lt=1, description="share of each class for evaluation; if absent, that is a file of its own"),
    ] = None
    shape: Annotated[
        tuple[PositiveInt, ...] | None,
        Field(min_length=1, max_length=8, description="shape to give the numbers of a row, e.g. [1, 28, 28]"),
    ] = None

    @model_validator(mode="after")
    def _one_role_each(self) -> TableColumns:
        named = [self.label, *(self.features or ()), *self.columns]
        for name in named:
            if named.count(name) > 1 or (name == self.client and name not in self.columns):
                raise ValueError(f"column {shorten(name)!r} is named twice; it can have one role only")
        return self

    def client_in(self, names: Sequence[str]) -> str | None:
        """Return the column of clients among these, or None."""
        taken = {self.label, *(self.features or ())}
        return self.client or ("client" if "client" in names and "client" not in taken else None)

    def kept(self, names: Sequence[str]) -> list[str]:
        """Return the columns to keep that are neither label nor feature."""
        client = self.client_in(names)
        return list(dict.fromkeys([*self.columns, *([client] if client else [])]))

    def check_names(self, names: Sequence[str], source: str, needed: Sequence[str]) -> None:
        """Raise InputError unless each needed column is among `names`."""
        for name in needed:
            if name not in names:
                raise InputError(f"{source}: no column {shorten(choose(name, names), 300)}; these are the file's")

    def shaped(self, features: NDArray[np.float32], source: str) -> NDArray[np.float32]:
        """Reshape numbers [num_rows, num_features] to the spec's `shape`."""
        if self.shape is None:
            return features
        if (size := int(np.prod(self.shape))) != features.shape[1]:
            raise InputError(
                f"dataset.shape: {list(self.shape)} is {size:,} numbers, but {source} has {features.shape[1]:,} a row"
            )
        return features.reshape(len(features), *self.shape)
