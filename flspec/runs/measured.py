"""What an evaluation gives, and how values of many clients become statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flspec.analysis.skew import gini
from flspec.compiler.evaluation import OVER_CLIENTS
from flspec.metrics import Confusion, Measurable, Metric, find_metric, measure
from flspec.runs.best_round import is_lower_better

__all__ = ["Grid", "Measured", "distribution", "over_clients", "reasons_over_clients"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Pictures side by side."""

    pixels: NDArray[np.uint8]  # [height, width, 3]
    clients: tuple[int, ...] = ()  # whose model made each row; empty if one model made all


@dataclass(frozen=True)
class Measured:
    """Metrics by set of examples, then by name; reasons for undefined values; confusion tables; grids of pictures."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    undefined: dict[str, dict[str, str]] = field(default_factory=dict)
    confusion: dict[str, Confusion] = field(default_factory=dict)
    images: dict[str, Grid] = field(default_factory=dict)

    def add(self, name: str, found: Measurable, metrics: Sequence[Metric]) -> None:
        """Measure one set."""
        self.values[name], reasons = measure(found, metrics)
        if reasons:
            self.undefined[name] = reasons

    def take(self, other: Measured) -> None:
        """Take what has been measured already."""
        self.values.update(other.values)
        self.undefined.update(other.undefined)

    def add_gap(self, name: str, groups: Sequence[str], metrics: Sequence[Metric]) -> None:
        """Add, for each metric, the gap between those groups that have a value."""
        names = [metric.name for metric in metrics]
        found = {metric: [self.values[g][metric] for g in groups if metric in self.values[g]] for metric in names}
        self.values[name] = {metric: max(values) - min(values) for metric, values in found.items() if len(values) > 1}
        if lone := [metric for metric, values in found.items() if len(values) < 2]:
            self.undefined[name] = dict.fromkeys(lone, "fewer than two groups have a value")


def over_clients(clients: Sequence[str], each: Sequence[Measured], sizes: Sequence[int]) -> Measured:
    """Return the mean over the clients' models, for each value over those models for which it is defined.

    `sizes` weigh the clients in the weighted mean: the number of examples of each.
    """
    together = Measured()
    for name in each[0].values:
        found = distribution(name + "/clients", [measured.values[name] for measured in each], sizes)
        together.values[name] = found[f"{name}/clients/mean"]
        if "/" not in name:
            together.values.update(found)
        if undefined := reasons_over_clients(clients, [measured.undefined.get(name, {}) for measured in each]):
            together.undefined[name] = undefined
    return together


def distribution(of: str, each: Sequence[Mapping[str, float]], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
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


def reasons_over_clients(clients: Sequence[str], each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return, for each metric that is undefined for some clients, their number and the first client's reason."""
    reasons: dict[str, str] = {}
    for metric in dict.fromkeys(name for reasons in each for name in reasons):
        why = {client: reasons[metric] for client, reasons in zip(clients, each, strict=True) if metric in reasons}
        first = next(iter(why))
        reasons[metric] = f"{len(why):,} of {len(each):,} clients have no value; client {first}: {why[first]}"
    return reasons
