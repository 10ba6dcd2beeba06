"""The rules by their definitions, in loops over float64 rows; without any code of flspec. `wrong` makes mistakes."""

from __future__ import annotations

import numpy as np


def median(x, wrong=""):
    if wrong == "lower":
        return np.array([sorted(column)[(len(x) - 1) // 2] for column in x.T.tolist()])
    middle = [sorted(column)[(len(x) - 1) // 2 : len(x) // 2 + 1] for column in x.T.tolist()]
    return np.array([sum(values) / len(values) for values in middle])


def trimmed_mean(x, f, wrong=""):
    f = int(0.05 * len(x)) if wrong == "share" else f
    kept = [sorted(column)[f : len(x) - (0 if wrong == "one_side" else f)] for column in x.T.tolist()]
    return np.array([sum(values) / len(values) for values in kept])


def krum_picks(x, f, m, wrong=""):
    num = len(x)
    scores = []
    for i in range(num):
        away = [float(((x[i] - x[j]) ** 2).sum()) for j in range(num) if j != i or wrong == "itself"]
        away = [value**0.5 for value in away] if wrong == "not_squared" else away
        scores.append(sum(sorted(away)[: num - f - (1 if wrong == "one_more" else 2)] or [min(away)]))
    return sorted(range(num), key=lambda i: (scores[i], i))[:m]


def multi_krum(x, f, m, weights=None, wrong=""):
    picked = krum_picks(x, f, m, wrong)
    return np.average(x[picked], axis=0, weights=None if weights is None else np.asarray(weights)[picked])


def bulyan(x, f, wrong=""):
    theta = len(x) - 2 * f
    left, picked = list(range(len(x))), list[int]()
    while len(picked) < theta:
        best = krum_picks(x[left], f, 1)[0] if len(left) > 1 else 0
        picked.append(left.pop(best))
    picked = krum_picks(x, f, theta) if wrong == "scored_once" else picked
    result = []
    for column in x[picked].T:
        center = column.mean() if wrong == "around_the_mean" else np.median(column)
        nearest = sorted(column, key=lambda value: (abs(value - center), value))[: theta - 2 * f]
        result.append(sum(nearest) / len(nearest))
    return np.array(result)


def geometric_median_gradient(x, z, weights, smoothing):
    """The gradient of sum_i alpha_i max(|z - x_i|, smoothing): 0 at the smoothed geometric median."""
    shares = np.asarray(weights) / np.sum(weights)
    return sum(a * (z - row) / max(smoothing, np.linalg.norm(z - row)) for a, row in zip(shares, x, strict=True))


def weiszfeld(x, weights, smoothing, steps, wrong=""):
    z = np.average(x, axis=0, weights=weights) if wrong == "from_the_mean" else median(x)
    weights = np.ones(len(x)) if wrong == "all_alike" else weights
    for _ in range(steps):
        pulls = [w / max(smoothing, float(np.linalg.norm(z - row))) for w, row in zip(weights, x, strict=True)]
        z = sum(pull * row for pull, row in zip(pulls, x, strict=True)) / sum(pulls)
    return z


def norm_clipping(x, weights, wrong=""):
    norms = [float(np.linalg.norm(row)) for row in x]
    bound = np.mean(norms) if wrong == "mean_of_norms" else np.median(norms)
    clipped = [row * (bound / norm if norm > bound else 1) for row, norm in zip(x, norms, strict=True)]
    return np.average(clipped, axis=0, weights=weights)


def centered_clipping(x, tau, steps, v, wrong=""):
    v = np.zeros_like(v) if wrong == "forgets" else v
    for _ in range(1 if wrong == "once" else steps):
        clipped = []
        for row in x:
            norm = np.linalg.norm(row - v)
            clipped.append((row - v) * min(1.0, tau / norm) if norm else row - v)
        v = v + sum(clipped) / len(x)
    return v
