"""Data sets of one's own tables: which column is what, which classes there are, and what is drawn for evaluation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator

from flspec.core.components import Component
from flspec.core.text import in_flow, join_some
from flspec.data.classes import Classes, class_names
from flspec.data.column_types import Cells
from flspec.data.examples import Data
from flspec.data.readings import ColumnFacts, FileFacts
from flspec.data.spread import LARGE, SMALL
from flspec.data.tables import Draw, Rows
from flspec.datasets.encoded import RawFile, encoded_data
from flspec.datasets.features import OTHERS, Features, is_plain
from flspec.datasets.guesses import guess_column
from flspec.datasets.table_remarks import sizes_remark
from flspec.encodings import Steps, takes_of
from flspec.encodings.as_is import AsIs
from flspec.encodings.impute import Impute
from flspec.errors import InputError, shorten, suggestion

__all__ = ["NamedClasses", "Role", "TableColumns", "unnamed_indices"]

_Name = Annotated[str, Field(min_length=1, max_length=256)]


_Label = Annotated[
    _Name,
    BeforeValidator(lambda label: str(label) if type(label) is int else label, json_schema_input_type=_Name | int),
]


def _no_encodings(columns: Any) -> Any:
    if isinstance(columns, Mapping):
        raise ValueError("names the columns to keep, as a list; what a model gets of a column goes below features")
    return tuple(columns) if isinstance(columns, list) else columns  # strict pydantic has a tuple be one


_MOST = 6  # columns that a way out encodes
_PANDAS_INDEX = re.compile(r"Unnamed: [0-9]+|__index_level_[0-9]+__")


class Role(NamedTuple):
    """What a column of a table is to an experiment."""

    what: str  # label, feature, client, column, left out; or feature and one of client and column
    why: str = ""  # it is left out

    @property
    def is_feature(self) -> bool:
        return self.what.startswith("feature")


def unnamed_indices(names: Sequence[str]) -> dict[str, str]:
    """Return the columns that pandas named because nobody did, with the reason why they are no features."""
    return {name: "is an index of pandas, which numbers the rows" for name in names if _PANDAS_INDEX.fullmatch(name)}


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


class NamedClasses(Component):
    """Parameters of data sets whose labels are one's own."""

    classes: Annotated[
        tuple[_Label, ...] | None,
        Field(
            min_length=1,
            max_length=100_000,
            description="all labels, in the order of their classes; if absent, the training labels in their order",
            examples=[["healthy", "ill"]],
        ),
    ] = None

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if twice := _twice(classes or ()):
            raise ValueError(f"{shorten(twice[0])!r} is named twice; each class has one name")
        return classes

    @property
    def known_classes(self) -> Classes | None:
        """The classes that the spec names."""
        return Classes(self.classes) if self.classes else None

    def facts_of(
        self,
        path: Path,
        num_rows: int,
        columns: Sequence[ColumnFacts],
        labels: NDArray[Any] | Cells | None,
        problems: Iterable[str] = (),
        remarks: Iterable[str] = (),
    ) -> FileFacts:
        """Return a file's columns with the classes of its labels, and everything that has to be mended."""
        problems, classes = list(problems), tuple[str, ...]()
        if labels is not None:
            try:
                classes = class_names(labels, str(path), self.known_classes)
            except InputError as error:
                problems.append(str(error).removeprefix(f"{path}: "))
        kind = str(type(self).model_fields["kind"].default)
        return FileFacts(
            file=str(path),
            kind=kind,
            num_rows=num_rows,
            columns=tuple(columns),
            classes=classes,
            problems=tuple(problems),
            remarks=(*self.remarks_on(columns), *remarks),
        )

    def remarks_on(self, columns: Sequence[ColumnFacts]) -> tuple[str, ...]:
        """Return what would spoil training on a file's columns."""
        return ()


class TableColumns(NamedClasses):
    """Parameters of data sets of tables: the columns of labels, features and clients."""

    label: Annotated[_Name, Field(description="column of labels: whole numbers, or names")] = "label"
    features: Features = None
    client: Annotated[
        _Name | None,
        Field(description="column with the client of each example; if absent, `client` if there is one"),
    ] = None
    columns: Annotated[
        tuple[_Name, ...],
        Field(
            max_length=10_000,
            description="columns to keep, for partitions and groups; one that is named in features too is both",
        ),
        BeforeValidator(_no_encodings, json_schema_input_type=Annotated[tuple[_Name, ...], Field(max_length=10_000)]),
    ] = ()
    holdout: Annotated[
        float | None,
        Field(gt=0, lt=1, description="share of each class for evaluation; if absent, that is a file of its own"),
    ] = None
    split_seed: Annotated[
        int,
        Field(ge=0, lt=2**32, description="seed of the draw of that share; not the experiment's, whose seeds share it"),
    ] = 0
    shape: Annotated[
        tuple[PositiveInt, ...] | None,
        Field(min_length=1, max_length=8, description="shape to give the numbers of a row, e.g. [1, 28, 28]"),
    ] = None

    @model_validator(mode="after")
    def _roles_fit(self) -> TableColumns:
        features, columns = self.features or {}, self.columns
        if twice := _twice(columns):
            raise ValueError(f"column {shorten(twice[0])!r} is named twice in one list; remove one")
        if self.label in (*features, *columns, self.client):
            raise ValueError(f"column {shorten(self.label)!r} is named twice; the label can be nothing else")
        if self.client in features and self.client not in columns:
            raise ValueError(
                f"column {shorten(str(self.client))!r} is named twice; to learn from clients' names, add it to columns"
            )
        return self

    @model_validator(mode="after")
    def _texts_stand_alone(self) -> TableColumns:
        features = self.features or {}
        texts = [name for name, steps in features.items() if steps[-1].gives == "tokens"]
        if texts and (len(features) > 1 or texts == [OTHERS]):
            raise ValueError(
                f"{shorten(texts[0])!r} becomes token numbers, which a model of texts reads alone; name that column "
                "alone in features, and keep others with columns"
            )
        if texts and self.shape is not None:
            raise ValueError(f"shape is for numbers, but {shorten(texts[0])!r} becomes token numbers; remove it")
        return self

    @property
    def text(self) -> tuple[str, Steps] | None:
        """The column of texts that a model reads, with its encodings."""
        found = [one for one in (self.features or {}).items() if one[1][-1].gives == "tokens"]
        return found[0] if found else None

    @property
    def draw(self) -> Draw | None:
        """How a share of the rows is drawn for evaluation."""
        return Draw(self.holdout, self.split_seed) if self.holdout else None

    @property
    def is_encoded(self) -> bool:
        """Whether a model gets columns otherwise than as the numbers that the files have."""
        return self.features is not None and not is_plain(self.features)

    def encoded(
        self,
        parts: Mapping[str, Sequence[Rows]],
        raw: Mapping[str, Sequence[RawFile]],
        wanted: Mapping[str, Steps],
        client: str | None,
        classes: Classes | None,
    ) -> Data:
        """Return a data set whose features are encoded; `parts` have the other columns of the same files."""
        return encoded_data(parts, raw, wanted, self.shaped, self.draw, client, classes)

    def section_for(self, path: Path) -> dict[str, Any]:
        """Return the section of a spec that reads one file, with a share for evaluation."""
        kind = str(type(self).model_fields["kind"].default)
        given = self.model_dump(mode="json", exclude_unset=True, exclude={"kind", "file"})
        return {"kind": kind, "file": str(path.absolute()), "holdout": 0.2} | given

    def client_in(self, names: Sequence[str]) -> str | None:
        """Return the column of clients among these, or None."""
        taken = {self.label, *(self.features or ())}
        return self.client or ("client" if "client" in names and "client" not in taken else None)

    def kept(self, names: Sequence[str]) -> list[str]:
        """Return the columns to keep besides label and features."""
        client = self.client_in(names)
        return list(dict.fromkeys([*self.columns, *([client] if client else [])]))

    def roles(self, names: Sequence[str], unfit: Mapping[str, str]) -> dict[str, Role]:
        """Return what each of a file's columns is; `unfit` says why a column is no feature unless the spec names it."""
        kept, client = set(self.kept(names)), self.client_in(names)
        features = set(self.feature_columns(names, unfit))

        def role(name: str) -> Role:
            if name == self.label:
                return Role("label")
            found = [
                *(["feature"] if name in features else []),
                *(["client"] if name == client else ["column"] if name in kept else []),
            ]
            if found:
                return Role(" and ".join(found))
            unasked = self.features is None or OTHERS in self.features  # it would be one of all others
            return Role("left out", (unasked and unfit.get(name)) or "not in dataset.features")

        return {name: role(name) for name in names}

    def feature_columns(self, names: Sequence[str], unfit: Mapping[str, str]) -> dict[str, Steps]:
        """Return the columns that a model gets, of those that a file has or the spec names, with their encodings."""
        wanted = self.features if self.features is not None else {OTHERS: (AsIs(),)}
        taken = {self.label, *self.kept(names), *unfit, *wanted} - {
            OTHERS
        }  # a column of that name is one of the others
        found: dict[str, Steps] = {}
        for name, steps in wanted.items():
            found |= dict.fromkeys([one for one in names if one not in taken] if name == OTHERS else [name], steps)
        return found

    def column_facts(self, names: Sequence[str], unfit: Mapping[str, str]) -> list[ColumnFacts]:
        """Return the role of each column of a file, without reading its values."""
        roles = self.roles(names, unfit)
        return [ColumnFacts(name=name, role=role.what, why=role.why) for name, role in roles.items()]

    def problems(self, columns: Sequence[ColumnFacts], num_rows: int) -> Iterator[str]:
        """Yield what has to be mended in a file's columns, or said in a spec, before an experiment can use it."""
        names = [column.name for column in columns]
        if self.label not in names:
            what = f"no column is called {shorten(self.label)!r}; {suggestion(self.label, names)}"
            yield f"{what}say which one holds the labels: label: NAME, here --set label=NAME"
        for name in dict.fromkeys([*(self.features or ()), *self.kept(names)]):
            if name not in names:
                yield f"no column is called {shorten(name)!r}: {suggestion(name, names)}change the name"
        for column in columns:
            if column.role == "client" and column.missing:
                yield f"{column.name}: {column.missing:,} rows have no value, but every example needs a client"
        yield from self._feature_problems(columns, num_rows)

    def _feature_problems(self, columns: Sequence[ColumnFacts], num_rows: int) -> Iterator[str]:
        features = {column.name: column for column in columns if column.role.startswith("feature")}
        wrong = [name for name, column in features.items() if self._is_unfit(column)]
        right = [name for name in features if name not in wrong]
        if not features:
            yield "no column is left for features"
        elif wrong:
            encodings = {name: guess_column(features[name], num_rows).encoding for name in wrong[:_MOST]}
            known = {name: encoding for name, encoding in encodings.items() if encoding is not None}
            lines = known | ({OTHERS: "as_is"} if self.features is None and len(known) == len(wrong) else {})
            ways = [f"encode them (features: {in_flow(lines)})"] if known else []
            if right:
                ways.append(f"name the others (features: [{join_some(right, 6)}])")
            told = f"a feature needs a number in every row, which is not so here: {join_some(wrong, 6)}"
            yield f"{told}; {', or '.join([*ways, 'mend them'])}"

    def _is_unfit(self, column: ColumnFacts) -> bool:
        """Return whether a feature lacks numbers that its encodings need."""
        steps = (self.features or {}).get(column.name, (self.features or {}).get(OTHERS, (AsIs(),)))
        fills = any(step.takes == "either" or isinstance(step, Impute) for step in steps)
        if takes_of(steps) == "texts":  # a missing one is an empty one
            return False
        is_text = column.holds == "text" and takes_of(steps) == "numbers"
        return is_text or bool(column.missing and not fills)

    def remarks_on(self, columns: Sequence[ColumnFacts]) -> tuple[str, ...]:
        wanted = self.features or {}
        sizes = {
            column.name: column.size
            for column in columns
            if column.role.startswith("feature") and column.size and not self._is_unfit(column)
            if all(isinstance(step, AsIs | Impute) for step in wanted.get(column.name, wanted.get(OTHERS, ())))
        }
        unfit = {name: size for name, size in sizes.items() if size >= LARGE or size <= SMALL}
        return tuple(filter(None, [sizes_remark(unfit, {}, self.features)]))

    def check_names(self, names: Sequence[str], source: str, needed: Sequence[str]) -> None:
        """Raise InputError unless each needed column is among `names`."""
        known = set(names)
        for name in needed:
            if name not in known:
                raise InputError(
                    f"{source}: there is no column {shorten(name)!r}; {suggestion(name, names)}its columns are "
                    f"{shorten(', '.join(names), 200)}"
                )

    def shaped(self, features: NDArray[np.float32], source: str) -> NDArray[np.float32]:
        """Reshape numbers [num_rows, num_features] to the spec's `shape`."""
        if self.shape is None:
            return features
        if (size := int(np.prod(self.shape))) != features.shape[1]:
            raise InputError(
                f"dataset.shape: {list(self.shape)} is {size:,} numbers, but {source} has {features.shape[1]:,} a row"
            )
        return features.reshape(len(features), *self.shape)
