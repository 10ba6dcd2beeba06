"""Skew: how much the clients of a partition differ in labels and in size.

Every measure comes from one matrix, `counts`: int64 [num_clients, num_classes], each client's examples of each label.
Every client has at least one example, as compile ensures. Means over clients are unweighted, because cohorts are drawn
that way: each client counts the same, whatever its size.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.records import LabelDistance, LabelEntropy, Skew

__all__ = ["Skew", "count_labels", "gini", "label_distances", "label_entropies", "measure_skew"]

Counts = NDArray[np.int64]  # [num_clients, num_classes]


def measure_skew(counts: Counts) -> Skew:
    """Return all measures of one partition."""
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
    """Return the matrix of counts; `examples` lists the clients' examples one client after
    another, ending at `ends`.
    """
    owners = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    places = owners * num_classes + labels[examples]
    counts: Counts = np.bincount(places, minlength=len(ends) * num_classes).reshape(len(ends), num_classes)
    return counts


def label_entropies(counts: Counts) -> NDArray[np.float64]:
    """Return [num_clients], in nats: H_k = -sum_c p_k(c) ln p_k(c), where p_k(c) is client k's share of label c.

    It ranges from 0, for a client with one label, to ln(num_classes) (Shannon, 1948, Section 6).
    """
    shares = _shares(counts)
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))  # 0 ln 0 is 0
    entropies: NDArray[np.float64] = np.maximum(-(shares * logs).sum(axis=1), 0.0)
    return entropies


def label_distances(counts: Counts) -> NDArray[np.float64]:
    """Return [num_clients]: sum_c |p_k(c) - p(c)|, where p are the shares of the labels over all clients together.

    Zhao et al. 2018 (arXiv 1806.00582, Section 3.2) call it the earth mover's distance; their p is the population. It
    ranges from 0, for a client like the whole, towards 2, for a client that shares no label with the others.
    """
    distances: NDArray[np.float64] = np.abs(_shares(counts) - _shares(counts.sum(axis=0))).sum(axis=-1)
    return distances


def gini(sizes: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """Return half the mean difference between two sizes over the mean size: sum_ij |x_i - x_j| / (2 n^2 mean(x)).

    It ranges from 0, if all are equal, to 1 - 1/n, if one has everything (Gini 1912). `sizes` are not all 0.
    """
    ordered, num = np.sort(sizes).astype(np.float64), len(sizes)
    ranks = 2 * np.arange(1, num + 1) - num - 1  # by rank: the times a size is added less subtracted
    return max(0.0, float((ranks * ordered).sum() / (num * ordered.sum())))


def _shares(counts: Counts) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum(axis=-1, keepdims=True)
    return shares
