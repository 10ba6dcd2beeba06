"""Groups of examples by the values of a column. Each group is evaluated separately.

The column `Male` splits `test` into the groups `test/Male=0` and `test/Male=1`. A column of numbers with edges gives
bins: `test/age=(-inf,30)`, `test/age=[30,50)`, `test/age=[50,inf)`. Examples without a value (empty text or NaN) are
the group `test/Male missing`, which is evaluated as well. `test/Male gap` is the largest difference between groups; the
group of missing values does not take part in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from flspec.core.components import Document
from flspec.data.examples import Data, Split, as_numbers, is_missing
from flspec.errors import InputError

__all__ = ["ExampleGroup", "NamedGroup", "check_groups", "label_masks", "parse_groups"]

_MOST_GROUPS = 32  # of one column
Mask = NDArray[np.bool_]  # [num_examples]


class ExampleGroup(Document):
    """A column whose values divide examples into groups. Its name is enough, unless numbers are to be put into bins."""

    column: Annotated[str, Field(min_length=1, description="column of the examples", examples=["age_approx"])]
    edges: Annotated[
        # Not strict: after the validator `_by_name` pydantic validates Python values, where JSON's tuple is a list.
        Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=_MOST_GROUPS - 1)] | None,
        Field(
            description="where bins of numbers begin, ascending; absent: each value by itself",
            examples=[[30.0, 50.0, 70.0]],
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given

    @field_validator("edges")
    @classmethod
    def _ascending(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges and any(after <= before for before, after in pairwise(edges)):
            raise ValueError(f"edges should ascend, but are {', '.join(f'{edge:g}' for edge in edges)}")
        return edges

    @model_serializer(mode="wrap")
    def _briefly(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.column if self.edges is None else handler(self)

    @property
    def gap(self) -> str:
        """Name of the difference between the groups."""
        return f"{self.column} gap"

    @property
    def missing(self) -> str:
        """Name of the group of examples without a value."""
        return f"{self.column} missing"

    def masks(self, values: NDArray[Any]) -> dict[str, Mask]:
        """Return, by group name, which examples belong to it; `values` is the column. Empty groups are left out."""
        bins = values if self.edges is None else np.digitize(numbers := as_numbers(values), self.edges)
        missing = is_missing(values if self.edges is None else numbers)
        masks = {self._name(one): np.asarray((bins == one) & ~missing) for one in np.unique(bins[~missing])}
        return masks | ({self.missing: missing} if missing.any() else {})

    def _name(self, one: Any) -> str:
        """Return the name of a group: `one` is its value, or the number of its bin."""
        if self.edges is None:
            return f"{self.column}={one}"
        ends = [-np.inf, *self.edges, np.inf]
        return f"{self.column}={'[' if one else '('}{ends[one]:g},{ends[one + 1]:g})"


class _OrItsName:
    """Annotation that lets the JSON Schema accept a column's name for a group."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "minLength": 1}, handler(schema)]}


NamedGroup = Annotated[ExampleGroup, _OrItsName()]


def parse_groups(planned: Sequence[Any]) -> tuple[ExampleGroup, ...]:
    """Return the groups that a plan names."""
    adapter = TypeAdapter(tuple[ExampleGroup, ...])
    return adapter.validate_json(TypeAdapter(Any).dump_json(planned))


def label_masks(labels: NDArray[Any], names: Sequence[str]) -> dict[str, Mask]:
    """Return, by `label=NAME`, which examples have a label, of those labels that occur; without names by number."""
    has = labels.astype(bool).T if labels.ndim == 2 else labels == np.arange(labels.max(initial=-1) + 1)[:, None]
    return {f"label={names[n] if names else n}": np.asarray(mask) for n, mask in enumerate(has) if mask.any()}


def check_groups(groups: Sequence[ExampleGroup], data: Data) -> dict[str, list[str]]:
    """Return the names of each split's groups and gaps. Raises InputError if a column cannot define groups."""
    return {name: _names(groups, data, split) for name, split in data.splits.items() if name != "train"}


def _names(groups: Sequence[ExampleGroup], data: Data, split: Split) -> list[str]:
    names: Counter[str] = Counter()
    for group in groups:
        values = replace(data.examples, columns=split.columns).column(group.column, "evaluation.groups")
        names.update([*_checked(group, values), group.gap])
    if twice := [name for name, num in names.items() if num > 1]:
        raise InputError(f"evaluation.groups: two would be named {twice[0]!r}; remove one")
    return list(names)


def _checked(group: ExampleGroup, values: NDArray[Any]) -> dict[str, Mask]:
    if group.edges is None and (found := len(np.unique(values))) > _MOST_GROUPS:
        bins = ", or give it edges" if values.dtype.kind in "iuf" else ""
        raise InputError(
            f"evaluation.groups: {group.column} has {found:,} values, but at most {_MOST_GROUPS} can be groups; name "
            f"another{bins}"
        )
    try:
        return group.masks(values)
    except ValueError:
        raise InputError(
            f"evaluation.groups: {group.column} holds text, but edges divide numbers; remove its edges"
        ) from None
