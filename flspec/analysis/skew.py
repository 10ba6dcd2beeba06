"""How differently the clients of a partition are made up: in labels, and in how much they hold.

All is computed from one matrix, `counts`: int64 [num_clients, num_classes], the examples of each label that each client
holds. Every client holds at least one example, as compile sees to. Means over clients are unweighted: each client
counts as much as any other, whatever it holds, because that is how cohorts are drawn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.records import LabelDistance, LabelEntropy, Skew

__all__ = ["Skew", "count_labels", "gini", "label_distances", "label_entropies", "measure_skew"]

Counts = NDArray[np.int64]  # [num_clients, num_classes]


def measure_skew(counts: Counts) -> Skew:
    """All measures of one partition."""
    entropies, distances = label_entropies(counts), label_distances(counts)
    return Skew(
        label_entropy=LabelEntropy(
            min=float(entropies.min()),
            mean=float(entropies.mean()),
            max=float(entropies.max()),
            greatest=math.log(counts.shape[1]),
        ),
        emd=LabelDistance(mean=float(distances.mean()), max=float(distances.max())),
        size_gini=gini(counts.sum(axis=1)),
    )


def count_labels(
    examples: NDArray[np.integer], ends: NDArray[np.integer], labels: NDArray[np.int64], num_classes: int
) -> Counts:
    """The matrix of counts; `examples` are the clients' one after another, each client's up to its entry of `ends`."""
    owners = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    places = owners * num_classes + labels[examples]
    counts: Counts = np.bincount(places, minlength=len(ends) * num_classes).reshape(len(ends), num_classes)
    return counts


def label_entropies(counts: Counts) -> NDArray[np.float64]:
    """[num_clients], in nats: H_k = -sum_c p_k(c) ln p_k(c), p_k being client k's share of each label.

    From 0, where a client holds one label, to ln(num_classes) (Shannon, 1948, Section 6).
    """
    shares = _shares(counts)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))  # 0 ln 0 is 0
    entropies: NDArray[np.float64] = np.maximum(-(shares * logs).sum(axis=1), 0.0)
    return entropies


def label_distances(counts: Counts) -> NDArray[np.float64]:
    """[num_clients]: sum_c |p_k(c) - p(c)|, p being the shares of the labels in what all clients hold together.

    Called the earth mover's distance by Zhao et al. 2018 (arXiv 1806.00582, Section 3.2), whose p is the population.
    From 0, where a client is like the whole, towards 2, where it holds nothing of what the others hold.
    """
    distances: NDArray[np.float64] = np.abs(_shares(counts) - _shares(counts.sum(axis=0))).sum(axis=-1)
    return distances


def gini(sizes: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """Half the mean difference between two sizes over the mean size: sum_ij |x_i - x_j| / (2 n^2 mean(x)).

    From 0, where all are equal, to 1 - 1/n, where one holds all (Gini 1912). `sizes` are not all 0.
    """
    ordered, num = np.sort(sizes).astype(np.float64), len(sizes)
    ranks = 2 * np.arange(1, num + 1) - num - 1  # the same sum, by rank: each size is added and taken away so often
    return max(0.0, float((ranks * ordered).sum() / (num * ordered.sum())))


def _shares(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum(axis=-1, keepdims=True)
    return shares
