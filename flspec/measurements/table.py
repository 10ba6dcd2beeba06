"""The long table, and what is read off it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from flspec.errors import InputError, choose
from flspec.measurements.axes import axes_of, settings_by_path
from flspec.measurements.folders import distinct_names, run_folders
from flspec.measurements.tally import Tally
from flspec.runs.result import Result, RoundRecord, load_result

__all__ = ["Measurement", "Measurements", "measurements_of"]

_NAMED = ("run", "plan", "seed", "backend", "status")  # columns of a run, beside its settings


@dataclass(frozen=True)
class Measurement:
    """One value of one run: a row of the long table."""

    run: int  # position of the run
    round: int
    split: str | None  # "train", "test", …; None for what a round costs
    group: str | None  # of the split's examples: "sex=f"; None for all
    client: int | None  # None for all together
    metric: str
    value: float | None  # None where the metric is undefined


@dataclass(frozen=True)
class Measurements:
    """What any number of runs measured. Runs are told apart by their names, and by the settings that differ."""

    folders: tuple[Path, ...]
    results: tuple[Result, ...]

    @cached_property
    def names(self) -> list[str]:
        """The runs' names: the ends of their folders' paths that differ."""
        return distinct_names(self.folders)

    @cached_property
    def axes(self) -> list[str]:
        """The settings in which the runs differ, by path; a section with a kind stands for its kind."""
        return axes_of(self._settings)

    @property
    def axis_values(self) -> list[dict[str, JsonValue]]:
        """Each run's values of the axes, by path."""
        return [{path: settings.get(path) for path in self.axes} for settings in self._settings]

    @cached_property
    def rows(self) -> list[Measurement]:
        """Every value: what clients measured in training, evaluations, and what each round cost."""
        return [row for run, result in enumerate(self.results) for one in result.rounds for row in _rows(run, one)]

    def has(self, path: str) -> bool:
        """Return whether any run's spec has a setting of that path."""
        return any(path in settings for settings in self._settings)

    def records(self) -> list[dict[str, Any]]:
        """Return the long table, a dictionary a row.

        Columns: run, plan, the axes by their paths, seed, backend, status, round, split, group, client, metric, value.
        """
        runs = [self._of_run(number) for number in range(len(self.results))]
        return [runs[row.run] | {name: one for name, one in vars(row).items() if name != "run"} for row in self.rows]

    def frame(self) -> Any:
        """Return the long table as a pandas DataFrame if pandas is installed, otherwise as `records()` does."""
        if find_spec("pandas") is None:
            return self.records()
        return import_module("pandas").DataFrame.from_records(self.records())

    def table(
        self, by: str | Sequence[str] | None = None, metric: str = "accuracy", split: str = "test", group: str = ""
    ) -> Tally:
        """Return mean and deviation of a metric of the last models, over all completed runs that share the values `by`.

        `by` names columns of the long table or paths of the spec; by default the axes. Raises InputError for a name
        that no run has.
        """
        names = self._named(by)
        last = {row.run: row for row in self._values(metric, split, group)}
        done = [row for row in last.values() if self._is_of_last_model(row)]
        return Tally.of(names, ((self._key(row, names), row.value) for row in done if row.value is not None))

    def curves(
        self, by: str | Sequence[str] | None = None, metric: str = "accuracy", split: str = "test", group: str = ""
    ) -> Tally:
        """Return mean and deviation of a metric after each evaluated round; else as `table`."""
        names = self._named(by)
        rows = [row for row in self._values(metric, split, group) if self.results[row.run].status == "completed"]
        values = (((*self._key(row, names), row.round), row.value) for row in rows if row.value is not None)
        return Tally.of((*names, "round"), values)

    @cached_property
    def _settings(self) -> list[dict[str, JsonValue]]:
        return [settings_by_path(result.spec) for result in self.results]

    def _of_run(self, number: int) -> dict[str, Any]:
        result, settings = self.results[number], self._settings[number]
        axes = {path: settings.get(path) for path in self.axes}
        ends = {"seed": result.seed, "backend": result.backend.name, "status": result.status}
        return {"run": self.names[number], "plan": result.plan_digest, **axes, **ends}

    def _named(self, by: str | Sequence[str] | None) -> list[str]:
        names = self.axes if by is None else [by] if isinstance(by, str) else list(by)
        known = dict.fromkeys((*_NAMED, *(path for settings in self._settings for path in settings)))
        for name in names:
            if name not in known:
                raise InputError(f"by: {choose(name, dict.fromkeys((*self.axes, *_NAMED, *known)))}")
        return names

    def _key(self, row: Measurement, names: Sequence[str]) -> list[Any]:
        values = self._settings[row.run] | self._of_run(row.run)
        return [values.get(name) for name in names]

    def _values(self, metric: str, split: str, group: str) -> list[Measurement]:
        """Return the rows of one metric; raises InputError if none has it."""
        rows: Sequence[Measurement] = self.rows
        for name, wanted in (("split", split), ("group", group or None), ("metric", metric)):
            found = [row for row in rows if getattr(row, name) == wanted]
            if rows and not found:
                known = sorted({str(getattr(row, name)) for row in rows if getattr(row, name) is not None})
                raise InputError(f"{name}: {choose(wanted, known)}")
            rows = found
        return list(rows)

    def _is_of_last_model(self, row: Measurement) -> bool:
        result = self.results[row.run]
        return result.status == "completed" and row.round == result.rounds[-1].round


def measurements_of(paths: str | Path | Iterable[str | Path]) -> Measurements:
    """Return what the runs at or below some paths measured: run folders, sweeps, certificates, in any mixture.

    Raises InputError if there is no run at one of them, or a result cannot be read.
    """
    folders = run_folders([paths] if isinstance(paths, str | Path) else paths)
    return Measurements(tuple(folders), tuple(load_result(folder) for folder in folders))


def _rows(run: int, record: RoundRecord) -> Iterator[Measurement]:
    yield from (Measurement(run, record.round, "train", None, None, *one) for one in record.train.items())
    evaluation = record.evaluation or {}
    for name in dict.fromkeys((*evaluation, *record.undefined)):
        undefined: Mapping[str, None] = dict.fromkeys(record.undefined.get(name, {}))
        split, _, group = name.partition("/")
        for metric, value in {**evaluation.get(name, {}), **undefined}.items():
            yield Measurement(run, record.round, split, group or None, None, metric, value)
    for metric, cost in _costs(record).items():
        yield Measurement(run, record.round, None, None, None, metric, cost)


def _costs(record: RoundRecord) -> dict[str, float]:
    costs = {"bytes_down": float(record.bytes_down), "bytes_up": float(record.bytes_up)}
    costs["seconds"] = sum(record.seconds.values())
    return costs if record.epsilon is None else costs | {"epsilon": record.epsilon}
