"""Runs side by side in one line each: what differs between them, and what came of them; chosen and sorted by any of it.

A run has values by name: `name`, `status`, `backend`, `started`, `seed`, `plan`, `seconds`, the paths of its spec's
settings, where a section with a kind stands for its kind (`aggregator`), and metrics of its last model with the set of
examples that they were measured on (`test/accuracy`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import JsonValue

from flspec.core.text import in_flow, natural
from flspec.errors import InputError, suggestion
from flspec.measurements.axes import axes_of, settings_by_path
from flspec.measurements.folders import distinct_names
from flspec.metrics import METRICS
from flspec.runs.found import FoundRun, find_runs
from flspec.runs.metric_words import metrics_in_order

__all__ = ["ListedRun", "Listing", "list_runs", "text_of"]

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERATOR = re.compile("!=|<=|>=|=|<|>")


@dataclass(frozen=True)
class ListedRun:
    """A run and its values by name."""

    name: str
    found: FoundRun
    settings: Mapping[str, JsonValue]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Metrics of the last model: `test/accuracy`."""
        final = self.found.result.final if self.found.result else None
        evaluation = final.evaluation if final and self.found.status == "finished" else {}
        return {f"{where}/{name}": value for where, found in evaluation.items() for name, value in found.items()}

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every value by name."""
        found, result = self.found, self.found.result
        own = {
            "name": self.settings.get("name"),
            "status": found.status,
            "backend": found.backend,
            "started": found.started,
            "seed": self.settings.get("seed"),
            "plan": found.plan_digest[:12],
            "seconds": result.seconds.total if result else None,
        }
        return {**self.settings, **own, **self.metrics}


@dataclass(frozen=True)
class Listing:
    """Some of the runs that were found."""

    runs: tuple[ListedRun, ...]

    @cached_property
    def axes(self) -> list[str]:
        """The settings in which these runs differ, by path; the seed last."""
        every = [run.settings for run in self.runs]
        seeds = {run.settings.get("seed") for run in self.runs}
        return [*axes_of(every), *(["seed"] if len(seeds) > 1 else [])]

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that any of the runs has, the usual ones of the test set first."""
        found = dict.fromkeys(name for run in self.runs for name in run.metrics)
        first = metrics_in_order(name.removeprefix("test/") for name in found if name.startswith("test/"))
        return list(dict.fromkeys((*(f"test/{name}" for name in first), *found)))

    def where(self, conditions: Iterable[str]) -> Listing:
        """Return the runs that meet every condition: `aggregator=fedadam`, `test/accuracy>0.9`, `status!=finished`.

        Raises InputError for what is none, and for a name that no run has.
        """
        runs = self.runs
        for condition in conditions:
            name, compare, wanted = self._parsed(condition)
            runs = tuple(run for run in runs if _meets(run.values.get(name), compare, wanted))
        return replace(self, runs=runs)

    def sorted_by(self, name: str, *, backwards: bool = False) -> Listing:
        """Return the runs in the order of a value, a metric's best first, runs without the value last.

        Raises InputError for a name that no run has.
        """
        self.check(name, "--sort")
        having = [run for run in self.runs if run.values.get(name) is not None]
        metric = METRICS.get(name.rpartition("/")[2]) if name in self.metrics else None
        falls = bool(metric and metric.better == "higher") is not backwards
        having = sorted(having, key=lambda run: _order(run.values[name]), reverse=falls)
        return replace(self, runs=(*having, *(run for run in self.runs if run.values.get(name) is None)))

    def check(self, name: str, option: str) -> None:
        """Raise InputError unless any run has a value of that name."""
        if self.runs and name not in self._names:
            raise self._unknown(name, option)

    @cached_property
    def _names(self) -> dict[str, None]:
        return dict.fromkeys(name for run in self.runs for name in run.values)

    def _parsed(self, condition: str) -> tuple[str, Callable[[Any, Any], bool], str]:
        """Return name, comparison, value. Of several operators the first behind a name counts: `test/sex=f/loss<1`."""
        found = list(_OPERATOR.finditer(condition))
        if not found:
            raise InputError(f"--where: {condition!r} compares nothing; write e.g. aggregator=fedadam or seed>=3")
        known = [one for one in found if condition[: one.start()].strip() in self._names]
        chosen = (known or found)[0]
        name = condition[: chosen.start()].strip()
        if self.runs and not known:
            raise self._unknown(name, "--where")
        return name, _OPERATORS[chosen[0]], condition[chosen.end() :].strip()

    def _unknown(self, name: str, option: str) -> InputError:
        some = ", ".join([*self.axes, *self.metrics[:2], "status", "backend", "started", "name"])
        meant = suggestion(name, self._names)
        return InputError(f"{option}: no run here has {name!r}; {meant}name a setting or a metric, e.g. {some}")


def list_runs(paths: Sequence[Any]) -> Listing:
    """Return the runs at or below some paths; raises InputError for a path that is not a folder."""
    found = find_runs(paths)
    names = distinct_names([run.folder for run in found])
    return Listing(
        tuple(ListedRun(name, run, settings_by_path(run.spec)) for name, run in zip(names, found, strict=True))
    )


def _meets(value: Any, compare: Callable[[Any, Any], bool], wanted: str) -> bool:
    """Compare numbers as numbers, and anything else as text; `null` is the absence of a value."""
    if value is None or wanted == "null":
        same = value is None and wanted == "null"
        return same if compare is operator.eq else not same if compare is operator.ne else False
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(ValueError):
            return compare(float(value), float(wanted))
    text = text_of(value)
    return compare(text, wanted) if compare in (operator.eq, operator.ne) else compare(natural(text), natural(wanted))


def text_of(value: Any) -> str:
    """Return a setting as it is written in a spec: `true`, `[64, 32]`."""
    return value if isinstance(value, str) else in_flow(value)


def _order(value: Any) -> tuple[bool, Any]:
    """Return a key that has numbers before texts."""
    if isinstance(value, int | float):
        return False, float(value)
    return True, natural(text_of(value))
