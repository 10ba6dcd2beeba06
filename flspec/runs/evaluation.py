"""The evaluation of aggregated models: one evaluator for every backend, so that engines differ in their training alone.

Every set of examples is scored once and measured over masks. The sets are `test`; `validation` if there is one; the
groups of each column in `evaluation.groups` (`test/Male=1`; see `flspec.data.groups`) and their gaps (`test/Male gap`);
the clients' holdouts, pooled (`holdout`) and as a distribution over clients (`clients/mean`, `clients/worst`, …).

A gap is the greatest value less the least. Equal opportunity asks that it be 0 for `recall`, demographic parity for
`positive_rate`. Examples without a value, `test/Male missing`, do not count in it.

If parts of the model stay with clients, each client has its own model. A value of `test` is then the mean over the
clients' models for which it is defined, and `test/clients/worst` and so on describe its distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flspec.analysis.skew import gini
from flspec.compiler.evaluation import OVER_CLIENTS
from flspec.data.examples import Split
from flspec.data.groups import parse_groups
from flspec.data.store import open_data
from flspec.errors import InputError
from flspec.metrics import Confusion, Scores, confusion_of, find_metric, measure
from flspec.protocol.plan import Plan
from flspec.protocol.registry import REFERENCE, find_backend
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import ServerState, Weights
from flspec.runs.best_round import is_lower_better

__all__ = ["Evaluator", "Measured"]


@dataclass(frozen=True)
class Measured:
    """Metrics by set of examples, then by name; reasons for undefined values; confusion tables."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    undefined: dict[str, dict[str, str]] = field(default_factory=dict)
    confusion: dict[str, Confusion] = field(default_factory=dict)

    def add(self, name: str, scores: Scores, metrics: Sequence[str]) -> None:
        """Measure one set."""
        self.values[name], reasons = measure(scores, metrics)
        if reasons:
            self.undefined[name] = reasons

    def add_gap(self, name: str, groups: Sequence[str], metrics: Sequence[str]) -> None:
        """Add, for each metric, the gap between those groups that have a value."""
        found = {metric: [self.values[g][metric] for g in groups if metric in self.values[g]] for metric in metrics}
        self.values[name] = {metric: max(values) - min(values) for metric, values in found.items() if len(values) > 1}
        if lone := [metric for metric, values in found.items() if len(values) < 2]:
            self.undefined[name] = dict.fromkeys(lone, "fewer than two groups have a value")


class Evaluator:
    """The metrics of a plan, measured for any weights on the plan's examples, which are verified first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._metrics = [find_metric(name).name for name in plan.settings.evaluation.metrics]
        self._groups = parse_groups(plan.settings.evaluation.groups)
        self._data = open_data(plan.settings.data, verify=True)
        self._scorer = _scorer(plan)

    def __call__(self, state: ServerState) -> Measured:
        """Measure the models of a state: the server's model, or each client's."""
        if self._plan.local:
            clients = self._plan.participants
            sizes = [len(self._plan.client_examples(client)) for client in clients]
            each = [self._measure(_model(state, self._plan, client)) for client in clients]
            measured = _over_clients(clients, each, sizes)
        else:
            measured = self._measure(state.weights)
        if self._plan.holdout:
            self._measure_clients(state, measured)
        return measured

    def _measure(self, weights: Weights) -> Measured:
        """Measure one model on every set that is the same for all models."""
        measured = Measured()
        for name, split in self._data.splits.items():
            if name == "train":
                continue
            scores = self._scores(weights, split)
            measured.add(name, scores, self._metrics)
            if not self._plan.local and (table := confusion_of(scores, self._data.label_names)):
                measured.confusion[name] = table  # only for one model; clients' own models would need one each
            for group in self._groups:
                masks = group.masks(split.columns[group.column])
                for part, mask in masks.items():
                    measured.add(f"{name}/{part}", scores.part(mask), self._metrics)
                known = [f"{name}/{part}" for part in masks if part != group.missing]
                measured.add_gap(f"{name}/{group.gap}", known, self._metrics)
        return measured

    def _measure_clients(self, state: ServerState, measured: Measured) -> None:
        """Measure the pooled holdouts, and the distribution of the clients' own values."""
        scores = self._scores_of_holdout(state)
        measured.add("holdout", scores, self._metrics)
        each = np.split(np.arange(len(scores)), np.cumsum([len(held) for held in self._plan.holdout])[:-1])
        own = [measure(scores.part(rows), self._metrics) for rows in each]
        measured.values.update(_distribution("clients", [values for values, _ in own], [len(rows) for rows in each]))
        if undefined := _reasons_over_clients(range(len(own)), [reasons for _, reasons in own]):
            measured.undefined["clients"] = undefined

    def _scores_of_holdout(self, state: ServerState) -> Scores:
        """Return the scores of the holdouts, client after client, each by the client's own model if it has one."""
        split, held = self._data.train_as_tested, np.concatenate(self._plan.holdout)
        if not self._plan.local:
            return self._scores(state.weights, split.part(held))
        outputs = [
            self._scorer.logits(_model(state, self._plan, client), split.part(own))
            for client in range(self._plan.num_clients)
            if len(own := self._plan.holdout_examples(client))
        ]
        return Scores(np.concatenate(outputs), split.part(held).labels, self._plan.settings.loss)

    def _scores(self, weights: Weights, split: Split) -> Scores:
        return Scores(self._scorer.logits(weights, split), split.labels, self._plan.settings.loss)


def _model(state: ServerState, plan: Plan, client: int) -> dict[str, NDArray[np.float32]]:
    """Return the server's tensors and a client's own; a client that never takes part has the initial ones."""
    own = state.clients.get(client, {}).get("weights", plan.local)
    return {**state.weights, **own}


def _over_clients(clients: Sequence[int], each: Sequence[Measured], sizes: Sequence[int]) -> Measured:
    """Return the mean over the clients' models, for each value over those models for which it is defined.

    `sizes` weigh the clients in the weighted mean: the number of examples of each.
    """
    together = Measured()
    for name in each[0].values:
        found = _distribution(name + "/clients", [measured.values[name] for measured in each], sizes)
        together.values[name] = found[f"{name}/clients/mean"]
        if "/" not in name:
            together.values.update(found)
        if undefined := _reasons_over_clients(clients, [measured.undefined.get(name, {}) for measured in each]):
            together.undefined[name] = undefined
    return together


def _distribution(of: str, each: Sequence[Mapping[str, float]], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return, for each metric, the number of clients that have a value, and the distribution of their values.

    The mean counts each client the same, the weighted mean each example (`sizes`, one for each client). Gini is 0 if
    all are alike.
    """
    names = dict.fromkeys(name for own in each for name in own)
    having = {name: [client for client, own in enumerate(each) if name in own] for name in names}
    by_metric = {
        name: _statistics(name, np.array([each[c][name] for c in clients]), np.array([sizes[c] for c in clients]))
        for name, clients in having.items()
    }
    return {
        f"{of}/{statistic}": {name: found[statistic] for name, found in by_metric.items() if statistic in found}
        for statistic in ("num_clients", *OVER_CLIENTS)
    }


def _statistics(metric: str, values: NDArray[np.float64], sizes: NDArray[np.int64]) -> dict[str, float]:
    """Return statistics of one metric's values over some clients, without the worst if no direction of the metric is
    better.
    """
    worst: Callable[[NDArray[np.float64]], np.float64] = np.max if is_lower_better(metric, "") else np.min
    found = {
        "num_clients": len(values),
        "mean": values.mean(),
        "weighted_mean": np.average(values, weights=sizes),
        "worst": worst(values),
        "p10": np.percentile(values, 10),
        "median": np.median(values),
        "p90": np.percentile(values, 90),
        "gini": gini(values) if values.any() else 0.0,
    }
    if find_metric(metric).better == "neither":
        del found["worst"]
    return {name: float(value) for name, value in found.items()}


def _reasons_over_clients(clients: Sequence[int], each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return, for each metric that is undefined for some clients, their number and the first client's reason."""
    reasons: dict[str, str] = {}
    for metric in dict.fromkeys(name for reasons in each for name in reasons):
        why = {client: reasons[metric] for client, reasons in zip(clients, each, strict=True) if metric in reasons}
        first = next(iter(why))
        reasons[metric] = f"{len(why):,} of {len(each):,} clients have no value; client {first}: {why[first]}"
    return reasons


def _scorer(plan: Plan) -> Scorer:
    """Return the reference backend's scorer, whichever backend trains, so that engines differ
    in their training alone.
    """
    scorer = find_backend(REFERENCE).scorer(plan)
    if scorer is None:
        raise InputError(f"evaluation: backend {REFERENCE!r} does not score models; install flspec again")
    return scorer
