"""The results of a sweep: its cells one by one, and each combination of values over its seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from flspec.core.components import Document
from flspec.core.reading import PYDANTIC_VALUE, read_json
from flspec.errors import InputError
from flspec.privacy.promises import most_costly
from flspec.protocol.records import FeatureSpaceRecord, Promise

__all__ = [
    "MATRIX",
    "BestRound",
    "CellRecord",
    "Metrics",
    "SeedGroup",
    "Spread",
    "Sweep",
    "groups_of",
    "load_sweep",
    "spread_of",
]

MATRIX = "matrix.json"  # in a sweep's folder

Metrics = dict[str, dict[str, float]]  # by set of examples, then by name


class BestRound(Document):
    """The round of a cell that `evaluation.best` chose."""

    round: int
    metric: str
    on: str  # a set of examples
    evaluation: Metrics  # metrics of the model after it


class CellRecord(Document):
    """The record of one cell."""

    label: str
    values: dict[str, JsonValue]  # by path
    folder: str | None = None  # below the sweep's; None if nothing was written
    plan_digest: str | None = None  # None if it could not be compiled
    status: Literal["completed", "failed", "interrupted", "pending"] = "pending"
    reused: bool = False  # done by an earlier sweep
    other_software: tuple[str, ...] = ()  # what differs between the software that ran it and that of this sweep
    error: str | None = None  # in one line
    evaluation: Metrics | None = None  # of the last model
    undefined: dict[str, dict[str, str]] = {}  # noqa: RUF012  # by set, then by metric: why it has no value
    best: BestRound | None = None  # None where none is asked for, or no round has a value
    privacy: Promise | None = None  # None if the spec asks for none
    features: FeatureSpaceRecord | None = None  # by which pictures were compared


class Spread(Document):
    """A metric over runs that differ only in their seeds."""

    num_runs: int  # runs that have a value
    mean: float
    sd: float | None  # sample standard deviation, over num_runs - 1; None for one run


class SeedGroup(Document):
    """The runs of one combination of values."""

    values: dict[str, JsonValue]  # by path, without the seed
    num_runs: int  # completed runs
    num_failures: int
    evaluation: dict[str, dict[str, Spread]]  # of the last models
    best: dict[str, dict[str, Spread]] = {}  # noqa: RUF012  # of each run's best model
    privacy: Promise | None = None  # of the run that costs most


class Sweep(Document):
    """A study and its results."""

    schema_version: Literal[1] = 1
    name: str
    backend: str
    cells: tuple[CellRecord, ...]
    groups: tuple[SeedGroup, ...]  # of the cells

    @property
    def is_complete(self) -> bool:
        """Whether every cell is done."""
        return all(cell.status == "completed" for cell in self.cells)


def groups_of(cells: Sequence[CellRecord]) -> tuple[SeedGroup, ...]:
    """Return the cells that differ only in their seeds, together, in the order of each group's first cell."""
    together: dict[str, list[CellRecord]] = {}
    for cell in cells:
        together.setdefault(json.dumps(_without_seed(cell.values), sort_keys=True), []).append(cell)
    return tuple(
        SeedGroup(
            values=_without_seed(members[0].values),
            num_runs=sum(cell.status == "completed" for cell in members),
            num_failures=sum(cell.status == "failed" for cell in members),
            evaluation=_spreads([cell.evaluation for cell in members if cell.evaluation]),
            best=_spreads([cell.best.evaluation for cell in members if cell.best]),
            privacy=most_costly([cell.privacy for cell in members if cell.privacy]),
        )
        for members in together.values()
    )


def load_sweep(folder: Path) -> Sweep:
    """Read a sweep's `matrix.json`; raises InputError if it is not valid."""
    path = folder / MATRIX
    try:
        return Sweep.model_validate_json(read_json(path, PYDANTIC_VALUE))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{path}: no record of a sweep: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _without_seed(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {path: value for path, value in values.items() if path != "seed"}


def _spreads(evaluations: Sequence[Metrics]) -> dict[str, dict[str, Spread]]:
    measured: dict[str, dict[str, list[float]]] = {}
    for evaluation in evaluations:
        for split, metrics in evaluation.items():
            for name, value in metrics.items():
                measured.setdefault(split, {}).setdefault(name, []).append(value)
    return {split: {name: spread_of(v) for name, v in metrics.items()} for split, metrics in measured.items()}


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of one value or more."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(num_runs=len(values), mean=statistics.fmean(values), sd=sd)
