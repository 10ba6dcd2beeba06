"""The long table, and what is read off it.

It is read run by run and round by round, so that it may be far larger than memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from flspec.errors import InputError, RunWarning, choose
from flspec.measurements.axes import axes_of, settings_by_path
from flspec.measurements.clients import client_values
from flspec.measurements.folders import distinct_names, find_runs
from flspec.measurements.missing import LostCell, lost_cells
from flspec.measurements.stored import StoredResults
from flspec.measurements.tally import Tally
from flspec.runs.result import Result, RoundRecord

__all__ = ["Measurement", "Measurements", "Run", "measurements_of"]

_OF_A_RUN = ("run", "plan", "seed", "backend", "status")  # columns, beside the settings
_OF_A_VALUE = ("round", "split", "group", "client", "metric", "value")


@dataclass(frozen=True)
class Run:
    """One run without its rounds: what each of its rows says of it, and which of its models is which."""

    name: str  # tells it from the others
    folder: Path
    experiment: str  # the spec's name
    plan: str  # digest
    seed: int
    backend: str
    status: str
    error: str | None
    settings: Mapping[str, JsonValue]  # by path
    last_round: int | None  # None: none was done
    best_round: int | None  # by the spec's evaluation.best


class Measurement(NamedTuple):  # there may be millions
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
    results: Sequence[Result]  # may be read anew at each access
    lost: tuple[LostCell, ...] = ()  # experiments of sweeps that left no folder
    unread: tuple[str, ...] = field(default=(), repr=False)  # why runs beside these are left out, each in a sentence

    @cached_property
    def runs(self) -> list[Run]:
        """The runs, in the order of the results."""
        names = distinct_names(self.folders)
        every = zip(names, self.folders, self.results, strict=True)
        return [_run(name, folder, result) for name, folder, result in every]

    @property
    def names(self) -> list[str]:
        """The runs' names: the ends of their folders' paths that differ."""
        return [run.name for run in self.runs]

    @cached_property
    def axes(self) -> list[str]:
        """The settings in which the runs differ, by path; a section with a kind stands for its kind."""
        return axes_of([run.settings for run in self.runs])

    @property
    def axis_values(self) -> list[dict[str, JsonValue]]:
        """Each run's values of the axes, by path."""
        return [{path: run.settings.get(path) for path in self.axes} for run in self.runs]

    @property
    def rows(self) -> Iterator[Measurement]:
        """Every value, read anew each time: means over clients in training, evaluations, what each round cost, and what
        single clients measured, where the run has it.
        """
        for number, result in enumerate(self.results):
            for record in result.rounds:
                yield from values_of(number, record)
            for round, client, metric, value in client_values(self.folders[number], result):
                yield Measurement(number, round, "train", None, client, metric, value)

    def has(self, path: str) -> bool:
        """Return whether any run's spec has a setting of that path."""
        return any(path in run.settings for run in self.runs)

    @property
    def columns(self) -> list[str]:
        """The long table's columns: run, plan, the axes by path, seed, backend, status, round, split, …, value."""
        return [*_OF_A_RUN[:2], *self.axes, *_OF_A_RUN[2:], *_OF_A_VALUE]

    def cells(self) -> Iterator[tuple[Any, ...]]:
        """Yield the long table row by row, each with a cell for each of `columns`."""
        of_runs = [tuple(self._of_run(run).values()) for run in self.runs]
        for row in self.rows:
            yield (*of_runs[row.run], *row[1:])

    def records(self) -> list[dict[str, Any]]:
        """Return the long table, a dictionary a row: see `columns`."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.cells()]

    def frame(self) -> Any:
        """Return the long table as a pandas DataFrame if pandas is installed, otherwise as `records()` does."""
        if find_spec("pandas") is None:
            return self.records()
        return import_module("pandas").DataFrame.from_records(self.cells(), columns=self.columns)

    def table(
        self, by: str | Sequence[str] | None = None, metric: str = "accuracy", split: str = "test", group: str = ""
    ) -> Tally:
        """Return mean and deviation of a metric of the last models, over all completed runs that share the values `by`.

        `by` names columns of the long table or paths of the spec; by default the axes. Raises InputError for a name
        that no run has.
        """
        names = self.named(by)
        rows = [row for row in self._values(metric, split, group) if row.round == self.runs[row.run].last_round]
        return Tally.of(names, ((self._key(row, names), row.value) for row in rows if row.value is not None))

    def curves(
        self, by: str | Sequence[str] | None = None, metric: str = "accuracy", split: str = "test", group: str = ""
    ) -> Tally:
        """Return mean and deviation of a metric after each evaluated round; else as `table`."""
        names = self.named(by)
        rows = self._values(metric, split, group)
        values = (((*self._key(row, names), row.round), row.value) for row in rows if row.value is not None)
        return Tally.of((*names, "round"), values)

    def named(self, by: str | Sequence[str] | None) -> list[str]:
        """Return the columns or paths that `by` names, by default the axes; raises InputError for an unknown one."""
        names = self.axes if by is None else [by] if isinstance(by, str) else list(dict.fromkeys(by))
        known = dict.fromkeys((*self.axes, *_OF_A_RUN, *(path for run in self.runs for path in run.settings)))
        for name in names:
            if name not in known:
                raise InputError(f"by: {choose(name, known)}")
        return names

    def of_run(self, run: Run, names: Sequence[str]) -> list[Any]:
        """Return a run's values in some columns or settings; None where its spec has no such setting."""
        values = {**run.settings, **self._of_run(run)}
        return [values.get(name) for name in names]

    def _of_run(self, run: Run) -> dict[str, Any]:
        axes = {path: run.settings.get(path) for path in self.axes}
        ends = {"seed": run.seed, "backend": run.backend, "status": run.status}
        return {"run": run.name, "plan": run.plan, **axes, **ends}

    def _of_rounds(self) -> Iterator[Measurement]:
        """Yield every value but those of single clients."""
        for number, result in enumerate(self.results):
            for record in result.rounds:
                yield from values_of(number, record)

    def _key(self, row: Measurement, names: Sequence[str]) -> list[Any]:
        return self.of_run(self.runs[row.run], names)

    def _values(self, metric: str, split: str, group: str) -> list[Measurement]:
        """Return the rows of one metric, of completed runs; raises InputError if no run has it."""
        wanted = {"split": split, "group": group or None, "metric": metric}
        known: dict[str, set[str]] = {name: set() for name in wanted}
        found, has_it = list[Measurement](), False
        for row in self._of_rounds():
            if not _fits(row, wanted, known):
                continue
            has_it = True
            if self.runs[row.run].status == "completed":
                found.append(row)
        if not has_it and (name := _first_unknown(wanted, known)):
            raise InputError(f"{name}: {choose(wanted[name], sorted(known[name]))}")
        return found


def measurements_of(paths: str | Path | Iterable[str | Path]) -> Measurements:
    """Return what the runs at or below some paths measured: run folders, sweeps, certificates, in any mixture.

    Warns of runs that have not ended or whose result cannot be read, and goes on with the others. Raises InputError if
    there is no run with a result at one of the paths, or none can be read.
    """
    found = find_runs([paths] if isinstance(paths, str | Path) else paths)
    results, errors = StoredResults(found.folders).readable()
    if errors and not len(results):
        raise errors[0]
    unread = [f"{error}; it is left out" for error in errors]
    unread += [f"{folder} is left out: it has not ended; go on with --resume" for folder in found.unfinished]
    for why in unread:
        warnings.warn(why, RunWarning, stacklevel=2)
    return Measurements(results.folders, results, lost_cells(found.sweeps, results.folders), tuple(unread))


def values_of(run: int, record: RoundRecord) -> Iterator[Measurement]:
    """Yield every value of a run's round."""
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


def _fits(row: Measurement, wanted: Mapping[str, str | None], known: Mapping[str, set[str]]) -> bool:
    """Return whether a row has all that is wanted; what it has instead, up to the first difference, becomes known."""
    for name, value in wanted.items():
        found = getattr(row, name)
        if found is not None:
            known[name].add(found)
        if found != value:
            return False
    return True


def _first_unknown(wanted: Mapping[str, str | None], known: Mapping[str, set[str]]) -> str | None:
    """Return the first thing wanted that no row has; None if there are no rows."""
    unknown = (name for name, value in wanted.items() if value is not None and value not in known[name])
    return next(unknown, None) if any(known.values()) else None


def _run(name: str, folder: Path, result: Result) -> Run:
    return Run(
        name=name,
        folder=folder,
        experiment=result.name,
        plan=result.plan_digest,
        seed=result.seed,
        backend=result.backend.name,
        status=result.status,
        error=result.error,
        settings=settings_by_path(result.spec),
        last_round=result.rounds[-1].round if result.rounds else None,
        best_round=result.best.round if result.best else None,
    )
