"""The subject of a sweep's page: runs that differ in some settings, each combination with several seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from flspec.core.text import in_flow, short_names
from flspec.errors import InputError
from flspec.measurements import Measurements
from flspec.measurements.folders import find_runs
from flspec.measurements.missing import lost_cells
from flspec.report.charts import Line
from flspec.report.palette import Style, plain_style
from flspec.report.words import DASH, brief, number
from flspec.runs.metric_words import metrics_in_order
from flspec.runs.result import RESULT, Result, load_result

__all__ = ["Combination", "SweepSubject", "Unfinished", "mean_and_sd", "subject_of_sweep"]

Values = tuple[JsonValue, ...]


@dataclass(frozen=True)
class Combination:
    """Completed runs that differ in their seeds alone."""

    values: Values  # of the axes
    label: str
    style: Style
    runs: tuple[int, ...]  # their positions


@dataclass(frozen=True)
class Unfinished:
    """A run of which there is no completed result."""

    label: str
    status: str
    why: str


@dataclass(frozen=True)
class SweepSubject:
    """The input of a sweep's sections. A plan that was run twice counts once, so that it is not taken for two seeds."""

    measurements: Measurements
    unfinished: tuple[Unfinished, ...]
    num_repeated: int = 0  # runs left out because another has their plan and backend

    @property
    def results(self) -> Sequence[Result]:
        return self.measurements.results

    @property
    def name(self) -> str:
        return ", ".join(dict.fromkeys(result.name for result in self.results))

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The paths of the settings in which the runs differ, seeds apart; `backend` is one if there are several."""
        several = len({result.backend.name for result in self.results}) > 1
        return (*self.measurements.axes, *(["backend"] if several else []))

    @cached_property
    def headings(self) -> tuple[str, ...]:
        """The axes by their shortest names that tell them apart."""
        names = short_names(self.axes)
        return tuple(brief(names[axis], 40) for axis in self.axes)

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """The combinations of values that have a completed run, in the order of the runs."""
        runs: dict[str, tuple[Values, list[int]]] = {}
        for position, result in enumerate(self.results):
            if result.status == "completed":
                values = self.values_of(position)
                runs.setdefault(json.dumps(values), (values, []))[1].append(position)
        return tuple(
            Combination(values, self.label(values), plain_style(index), tuple(positions))
            for index, (values, positions) in enumerate(runs.values())
        )

    def values_of(self, position: int) -> Values:
        """Return a run's values of the axes."""
        return tuple(self.measurements.of_run(self.measurements.runs[position], self.axes))

    def label(self, values: Values) -> str:
        """Return a combination in words: `alpha 0.1, aggregator fedavg`."""
        pairs = zip(self.headings, values, strict=True)
        return (
            brief(", ".join(f"{name} {shown(value)}" for name, value in pairs if value is not None), 90) or "all runs"
        )

    @cached_property
    def split(self) -> str:
        """The set of examples that the page is about: the test set, if there is one."""
        return next((name for name in ("test", *self.sets) if name in self.sets), "test")

    @cached_property
    def sets(self) -> list[str]:
        """Every evaluated set of the last models, whole ones first."""
        names = dict.fromkeys(
            name for result in self._completed for name in (result.final and result.final.evaluation) or {}
        )
        return sorted(names, key=lambda name: ("/" in name, list(names).index(name)))

    def metrics(self, split: str) -> list[str]:
        """Return the metrics of the last models on a set, in the order in which the specs ask for them."""
        asked = [name for result in self._completed for name in _asked(result)]
        found = [n for r in self._completed for n in (r.final.evaluation.get(split, {}) if r.final else {})]
        usual = sorted(metrics_in_order(found), key=lambda name: name == "loss")
        return [name for name in dict.fromkeys((*asked, *usual)) if name in found]

    def spreads(self, metric: str, split: str) -> dict[str, Mapping[str, Any]]:
        """Return `num_runs`, `mean` and `sd` of a metric of the last models, by the combination's label."""
        split, _, group = split.partition("/")
        tally = self.measurements.table(by=self.axes, metric=metric, split=split, group=group)
        return {self.label(tuple(row[axis] for axis in self.axes)): row for row in tally.rows}

    def curves(self, metric: str, split: str) -> dict[str, Line]:
        """Return the means of a metric by round, in a band of one deviation to either side, by the label."""
        points: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.measurements.curves(by=self.axes, metric=metric, split=split).rows:
            points.setdefault(self.label(tuple(row[axis] for axis in self.axes)), []).append(row)
        return {one.label: _line(one, points[one.label]) for one in self.combinations if one.label in points}

    @property
    def _completed(self) -> Iterator[Result]:
        return (result for result in self.results if result.status == "completed")


def subject_of_sweep(paths: Sequence[Path]) -> SweepSubject | None:
    """Return the runs at some paths as a sweep; None if they are no sweep.

    A folder of several runs is one, and so are folders of runs two of which differ in nothing but their seeds. Runs
    that cannot be read, and cells that never began, are among the unfinished. Raises InputError where there is no run.
    """
    found = find_runs(paths)
    kept, repeated, unfinished = dict[tuple[str, str], tuple[Path, Result]](), 0, list[Unfinished]()
    for folder in found.folders:
        try:
            result = load_result(folder)
        except InputError as error:
            unfinished.append(Unfinished(folder.name, "unreadable", str(error)))
            continue
        key = (result.plan_digest, result.backend.name)
        repeated += key in kept
        if key not in kept or kept[key][1].status != "completed":
            kept[key] = (folder, result)
    if not kept:
        raise InputError(f"{paths[0]}: no result here can be read: {unfinished[0].why}")
    measurements = Measurements(tuple(f for f, _ in kept.values()), tuple(r for _, r in kept.values()))
    unfinished += [
        Unfinished(run.name, run.status, run.error or "") for run in measurements.runs if run.status != "completed"
    ]
    unfinished += [Unfinished(folder.name, "not ended", "") for folder in found.unfinished]
    lost = lost_cells(found.sweeps, (*found.folders, *found.unfinished))
    unfinished += [Unfinished(cell.label, cell.status, cell.error or "") for cell in lost]
    subject = SweepSubject(measurements, tuple(unfinished), repeated)
    is_sweep = any(not (path / RESULT).is_file() for path in paths) or _has_replicates(subject)
    return subject if is_sweep and len(found.folders) > 1 else None


def shown(value: JsonValue) -> str:
    """Return a value of an axis as text; a dash where the setting is not there."""
    if value is None:
        return DASH
    if isinstance(value, float):
        return f"{value:.12g}"
    return brief(value if isinstance(value, str) else in_flow(value), 40)


def mean_and_sd(row: Mapping[str, Any] | None) -> str:
    """Return mean ± standard deviation; the mean alone of one run, and a dash of none."""
    if row is None:
        return DASH
    return number(row["mean"]) if row["sd"] is None else f"{number(row['mean'])} ± {number(row['sd'], 2)}"


def _has_replicates(subject: SweepSubject) -> bool:
    return any(len(one.runs) > 1 for one in subject.combinations)


def _asked(result: Result) -> Sequence[str]:
    evaluation = result.spec.get("evaluation")
    asked = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    return [name for name in asked if isinstance(name, str)] if isinstance(asked, list | tuple) else []


def _line(combination: Combination, rows: Sequence[Mapping[str, Any]]) -> Line:
    band = [(row["round"], row["mean"] - row["sd"], row["mean"] + row["sd"]) for row in rows if row["sd"] is not None]
    return Line(combination.style, [(row["round"], row["mean"]) for row in rows], band)
