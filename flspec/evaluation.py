"""How good an aggregated model is: one evaluator for every backend, so that engines differ only by their training.

Every set of examples is scored once and measured over masks: `test`, `validation` where there is one, the groups of
each column that `evaluation.groups` names (`test/Male=1`), and what each client holds out, pooled (`held_out`) and as
a distribution over clients (`clients/mean`, `clients/worst`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.data import Data, Split
from flspec.errors import InputError
from flspec.metrics import LOWER_IS_BETTER, Scores, measure
from flspec.plan import Plan
from flspec.skew import gini
from flspec.state import Weights
from flspec.store import open_data

__all__ = ["Evaluator", "Measured", "Scorer", "check_groups"]

_MOST_GROUPS = 32  # values of one column that are told apart


class Scorer(Protocol):
    """Runs a model forward; the same weights always give the same scores. Found in group `flspec.scorers`."""

    def __init__(self, plan: Plan) -> None: ...

    def logits(self, weights: Weights, split: Split) -> NDArray[np.float32]:
        """float32 [num_examples, num_classes]."""
        ...


@dataclass(frozen=True)
class Measured:
    """Metrics by set of examples, then by name, and why those that are not there have no value."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    undefined: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, scores: Scores, metrics: Sequence[str]) -> None:
        """Measure one set."""
        self.values[name], reasons = measure(scores, metrics)
        if reasons:
            self.undefined[name] = reasons


class Evaluator:
    """Measures a plan's metrics of any weights on its examples, which it first makes sure are the plan's."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._metrics: list[str] = plan.settings["evaluation"]["metrics"]
        self._groups: list[str] = plan.settings["evaluation"].get("groups", [])
        self._data = open_data(plan.settings["data"], verify=True)
        self._scorer = _scorer(plan)

    def __call__(self, weights: Weights) -> Measured:
        """What the weights are worth."""
        measured = Measured()
        for name, split in self._data.splits.items():
            if name == "train":
                continue
            scores = self._scores(weights, split)
            measured.add(name, scores, self._metrics)
            for group, mask in _groups(split, self._groups):
                measured.add(f"{name}/{group}", _part(scores, mask), self._metrics)
        if "held_out_ends" in self._plan.arrays:
            self._measure_clients(weights, measured)
        return measured

    def _measure_clients(self, weights: Weights, measured: Measured) -> None:
        """What clients hold out, pooled, and how their own values are distributed."""
        held = self._plan.arrays["held_out_examples"]
        # As they are evaluated: without what is drawn for training.
        as_tested = replace(self._data.train, transforms=self._data.test.transforms)
        scores = self._scores(weights, as_tested.part(held))
        measured.add("held_out", scores, self._metrics)
        values: dict[str, list[float]] = {}
        for own_rows in np.split(np.arange(len(held)), self._plan.arrays["held_out_ends"][:-1]):
            own, _ = measure(_part(scores, own_rows), self._metrics)
            for metric, value in own.items():
                values.setdefault(metric, []).append(value)
        measured.values.update(_distribution(values))

    def _scores(self, weights: Weights, split: Split) -> Scores:
        return Scores(self._scorer.logits(weights, split), split.labels.astype(np.int64))


def check_groups(columns: Sequence[str], data: Data) -> None:
    """Raise InputError where a column cannot be evaluated by."""
    for name in columns:
        found = len(np.unique(replace(data.examples, columns=data.test.columns).column(name, "evaluation.groups")))
        if found > _MOST_GROUPS:
            raise InputError(
                f"evaluation.groups: {name} has {found:,} values, at most {_MOST_GROUPS} are told apart; name another"
            )


def _groups(split: Split, columns: Sequence[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for name in columns:
        for value in np.unique(split.columns[name]):
            yield f"{name}={value}", np.asarray(split.columns[name] == value)


def _part(scores: Scores, mask: NDArray[Any]) -> Scores:
    return Scores(scores.logits[mask], scores.labels[mask])


def _distribution(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Of each metric over the clients that have it: mean, worst, percentiles, and Gini, 0 where all are alike."""
    statistics: dict[str, Callable[[str, Sequence[float]], float]] = {
        "mean": lambda metric, v: float(np.mean(v)),
        "worst": lambda metric, v: float(np.max(v) if metric in LOWER_IS_BETTER else np.min(v)),
        "p10": lambda metric, v: float(np.percentile(v, 10)),
        "median": lambda metric, v: float(np.median(v)),
        "p90": lambda metric, v: float(np.percentile(v, 90)),
        "gini": lambda metric, v: gini(np.asarray(v)),
    }
    return {
        f"clients/{name}": {metric: statistic(metric, found) for metric, found in values.items()}
        for name, statistic in statistics.items()
    }


def _scorer(plan: Plan) -> Scorer:
    for entry_point in entry_points(group="flspec.scorers"):
        scorer: type[Scorer] = entry_point.load()
        return scorer(plan)
    raise InputError("evaluation: no installed package scores models; reinstall flspec")
