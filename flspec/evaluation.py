"""How good an aggregated model is: one evaluator for every backend, so that engines differ only by their training.

Every set of examples is scored once and measured over masks: `test`, `validation` where there is one, the groups of
each column that `evaluation.groups` names (`test/Male=1`), and what each client holds out, pooled (`held_out`) and as
a distribution over clients (`clients/mean`, `clients/worst`, …).

Where parts of the model stay with clients there is a model for each client, and a value of `test` is the mean over the
clients of what their models are worth; `test/clients/worst` and so on say how that is distributed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flspec.data import Data, Split
from flspec.errors import InputError
from flspec.metrics import LOWER_IS_BETTER, Scores, measure
from flspec.plan import Plan
from flspec.skew import gini
from flspec.state import ServerState, Weights
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

    def __call__(self, state: ServerState) -> Measured:
        """What the models of a state are worth: the one of the server, or that of each client."""
        if self._plan.local:
            clients = self._plan.participants
            measured = _over_clients([self._measure(_model(state, self._plan, client)) for client in clients])
        else:
            measured = self._measure(state.weights)
        if "held_out_ends" in self._plan.arrays:
            self._measure_clients(state, measured)
        return measured

    def _measure(self, weights: Weights) -> Measured:
        """What one model is worth on every set that is the same for all."""
        measured = Measured()
        for name, split in self._data.splits.items():
            if name == "train":
                continue
            scores = self._scores(weights, split)
            measured.add(name, scores, self._metrics)
            for group, mask in _groups(split, self._groups):
                measured.add(f"{name}/{group}", scores.part(mask), self._metrics)
        return measured

    def _measure_clients(self, state: ServerState, measured: Measured) -> None:
        """What clients hold out, pooled, and how their own values are distributed."""
        scores = self._scores_of_held_out(state)
        measured.add("held_out", scores, self._metrics)
        ends = self._plan.arrays["held_out_ends"]
        own = [measure(scores.part(rows), self._metrics)[0] for rows in np.split(np.arange(len(scores)), ends[:-1])]
        measured.values.update(_distribution("clients", own))

    def _scores_of_held_out(self, state: ServerState) -> Scores:
        """Of what clients hold out, client after client, each by its own model where it has one."""
        split, held = self._data.train_as_tested, self._plan.arrays["held_out_examples"]
        if not self._plan.local:
            return self._scores(state.weights, split.part(held))
        outputs = [
            self._scorer.logits(_model(state, self._plan, client), split.part(own))
            for client in range(self._plan.num_clients)
            if len(own := self._plan.held_out_examples(client))
        ]
        return Scores(np.concatenate(outputs), split.part(held).labels, self._plan.settings["loss"])

    def _scores(self, weights: Weights, split: Split) -> Scores:
        return Scores(self._scorer.logits(weights, split), split.labels, self._plan.settings["loss"])


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


def _model(state: ServerState, plan: Plan, client: int) -> dict[str, NDArray[np.float32]]:
    """The server's tensors and a client's own, which are as they started with one that never takes part."""
    kept = state.clients.get(client)
    own = {name: kept[f"weights/{name}"] for name in plan.local} if kept else plan.local
    return {**state.weights, **own}


def _over_clients(each: Sequence[Measured]) -> Measured:
    """The mean over clients of what each one's model is worth, of those whose value is defined."""
    together = Measured()
    for name in each[0].values:
        values, reasons = [m.values[name] for m in each], [m.undefined.get(name, {}) for m in each]
        found = _distribution(name + "/clients", values)
        together.values[name] = found[f"{name}/clients/mean"]
        if "/" not in name:
            together.values.update(found)
        missing = {metric: why for told in reasons for metric, why in told.items()}
        if of_none := {metric: why for metric, why in missing.items() if metric not in together.values[name]}:
            together.undefined[name] = of_none
    return together


def _distribution(of: str, each: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Of each metric over the clients that have it: mean, worst, percentiles, and Gini, 0 where all are alike."""
    values: dict[str, list[float]] = {}
    for own in each:
        for metric, value in own.items():
            values.setdefault(metric, []).append(value)
    statistics: dict[str, Callable[[str, Sequence[float]], float]] = {
        "mean": lambda metric, v: float(np.mean(v)),
        "worst": lambda metric, v: float(np.max(v) if metric in LOWER_IS_BETTER else np.min(v)),
        "p10": lambda metric, v: float(np.percentile(v, 10)),
        "median": lambda metric, v: float(np.median(v)),
        "p90": lambda metric, v: float(np.percentile(v, 90)),
        "gini": lambda metric, v: gini(np.asarray(v)),
    }
    return {
        f"{of}/{name}": {metric: statistic(metric, found) for metric, found in values.items()}
        for name, statistic in statistics.items()
    }


def _scorer(plan: Plan) -> Scorer:
    for entry_point in entry_points(group="flspec.scorers"):
        scorer: type[Scorer] = entry_point.load()
        return scorer(plan)
    raise InputError("evaluation: no installed package scores models; reinstall flspec")
