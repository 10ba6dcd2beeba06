"""A lower bound of epsilon from outputs: whoever tells two inputs apart too well refutes a promise (arXiv:2006.07709).

(epsilon, delta) privacy bounds the errors of every test between neighbours: 1 - beta <= e^epsilon alpha + delta and
1 - alpha <= e^epsilon beta + delta, where alpha is the rate of false alarms and beta of misses (Kairouz, Oh and
Viswanath, ICML 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpsilonBound", "epsilon_bound", "largest_bound", "upper_limit"]

# With which the threshold is chosen: one that is best of thousands owes its few errors partly to luck.
_CAUTION = 0.9999

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EpsilonBound:
    """What the trials that did not choose the threshold say."""

    epsilon: float  # no smaller epsilon is true, at the confidence asked for; 0 says nothing
    false_alarms: int
    misses: int
    num_tested: int  # trials of each input


def upper_limit(errors: Any, num: int, level: float) -> Floats:
    """Return the upper end of a one-sided Clopper-Pearson interval of a rate: `errors` of `num` at this level."""
    from scipy.special import betaincinv

    errors = np.asarray(errors)
    # The level's quantile of Beta(errors + 1, num - errors), which is no distribution where all are errors.
    return np.where(errors == num, 1.0, betaincinv(errors + 1, np.maximum(num - errors, 1), level))


def epsilon_bound(without: Floats, with_canary: Floats, delta: float, confidence: float) -> EpsilonBound:
    """Return a lower bound of epsilon from a statistic, [trials] of each input, that is larger with the canary.

    The first half of the trials chooses the threshold, so that the second half is of one that does not depend on it.
    """
    half = len(without) // 2
    thresholds = np.unique(np.concatenate([without[:half], with_canary[:half]]))
    errors = _errors(without[:half], with_canary[:half], thresholds)
    best = thresholds[[_bound(*errors, half, delta, max(confidence, _CAUTION)).argmax()]]
    tested = len(without) - half
    false_alarms, misses = _errors(without[half:], with_canary[half:], best)
    bound = _bound(false_alarms, misses, tested, delta, confidence)
    return EpsilonBound(float(bound[0]), int(false_alarms[0]), int(misses[0]), tested)


def largest_bound(trials: int, delta: float, confidence: float) -> float:
    """Return the bound of so many trials, [trials] of each input, if none of them erred."""
    none = np.zeros(1, np.int64)
    return float(_bound(none, none, trials - trials // 2, delta, confidence)[0])


def _errors(without: Floats, with_canary: Floats, thresholds: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return false alarms and misses, [thresholds], of taking what is above a threshold for the canary's presence."""
    misses = np.searchsorted(np.sort(with_canary), thresholds, side="right")
    return len(without) - np.searchsorted(np.sort(without), thresholds, side="right"), misses


def _bound(
    false_alarms: NDArray[np.int64], misses: NDArray[np.int64], num: int, delta: float, confidence: float
) -> Floats:
    level = 1 - (1 - confidence) / 2  # of each rate, so that both hold at once with the confidence
    alpha, beta = upper_limit(false_alarms, num, level), upper_limit(misses, num, level)
    ratios = np.maximum((1 - delta - beta) / alpha, (1 - delta - alpha) / beta)
    return np.log(np.maximum(ratios, 1.0))
