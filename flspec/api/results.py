"""Results that know their folders, for tables and curves without a join by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from pydantic import JsonValue, PrivateAttr

from flspec.api.display import html_of_result, html_of_results, line_of_result, line_of_results
from flspec.api.models import Model, load_model
from flspec.measurements import Measurements, Tally
from flspec.runs.result import Result

__all__ = ["Results", "RunResult"]


class RunResult(Result):
    """What `result.json` says of a run, and where the run lies."""

    _folder: Path = PrivateAttr(Path())

    @staticmethod
    def of(folder: Path, result: Result) -> RunResult:
        """Return a result as that of the run in `folder`."""
        known = RunResult.model_construct(result.model_fields_set, **dict(result))
        known._folder = folder
        return known

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._folder

    def frame(self) -> Any:
        """Return all that the run measured as a long table: see `Measurements.frame`."""
        return Measurements((self.folder,), (self,)).frame()

    def __repr__(self) -> str:
        return line_of_result(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the last evaluation as a table, and curves."""
        return html_of_result(self)

    def model(self, which: str | int = "last", client: int | str | None = None) -> Model:
        """Return the run's model, to predict with, to look into or to go on with: see `load_model`."""
        return load_model(self, which, client)

    def predict(self, x: Any, which: str | int = "last", encoded: bool = False) -> Any:
        """Return the class of each example by the run's model, as `Model.predict` does; `x` is explained at `Model`."""
        return self.model(which).predict(x, encoded)


class Results(Sequence[RunResult]):
    """The results of a matrix, in the order of its cells; `values` has what each cell sets, by path."""

    def __init__(self, folder: Path, results: Sequence[RunResult], values: Sequence[Mapping[str, JsonValue]]) -> None:
        self.folder, self.values = folder, tuple(values)
        self._results = tuple(results)

    @overload
    def __getitem__(self, index: int) -> RunResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RunResult, ...]: ...
    def __getitem__(self, index: int | slice) -> RunResult | tuple[RunResult, ...]:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return line_of_results(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: mean and deviation by axis as a table, and curves."""
        return html_of_results(self)

    @cached_property
    def measurements(self) -> Measurements:
        """All that these runs measured."""
        return Measurements(tuple(result.folder for result in self), self._results)

    def frame(self) -> Any:
        """Return all that these runs measured as one long table: see `Measurements.frame`."""
        return self.measurements.frame()

    def table(self, by: str | Sequence[str] | None = None, metric: str = "accuracy", **where: str) -> Tally:
        """Return mean and deviation of a metric of the last models, by default by axis: see `Measurements.table`."""
        return self.measurements.table(self.axes if by is None else by, metric, **where)

    def curves(self, by: str | Sequence[str] | None = None, metric: str = "accuracy", **where: str) -> Tally:
        """Return mean and deviation of a metric after each evaluated round: see `Measurements.curves`."""
        return self.measurements.curves(self.axes if by is None else by, metric, **where)

    @cached_property
    def axes(self) -> list[str]:
        """The settings that the matrix names, except seeds, and those in which their sections differ."""
        named = dict.fromkeys(path for values in self.values for path in values if path != "seed")
        inner = [path for path in self.measurements.axes if path not in named]
        known = [path for path in named if self.measurements.has(path)]
        return [*known, *inner]
