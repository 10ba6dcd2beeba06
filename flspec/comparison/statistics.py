"""What may be said of two settings that several seeds measured: a difference, how sure it is, and whether it holds.

A difference is tested by permutation (Fisher, *The Design of Experiments*, 1935, 21), which supposes nothing of how
values are distributed. If two settings are alike, each pair of one seed could as well have come the other way round:
the p-value is the share of all 2^n changes of sign under which the mean difference is as far from 0 as it was. So n
pairs cannot give a p-value below 2^(1 - n). Values that are not paired are dealt to the two settings in other ways.

The p-values of several comparisons made at once are corrected by Holm (*A Simple Sequentially Rejective Multiple Test
Procedure*, 1979): the chance that any of them claims a difference where there is none stays below `ALPHA`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHA", "Contrast", "contrast", "fewest_pairs", "holm"]

ALPHA = 0.05  # chance of a claim, of all that are made together, where settings are alike
Values = NDArray[np.float64]

_ROUNDING = 1e-12  # relative; of float64 values that are equal but for what their difference adds
_RESAMPLES = 9999  # all changes of sign up to 13 pairs; above, so many at random


@dataclass(frozen=True)
class Contrast:
    """The mean difference of two settings' values, first less second."""

    num: tuple[int, int]  # values of each
    paired: bool  # by seed
    difference: float
    low: float | None  # of the 95 % interval by Student's t (of Welch, not paired), which supposes normal differences;
    high: float | None  # None for fewer than two pairs, or two values of either
    p: float  # of the permutation test, two-sided; 1 where nothing can be tested
    least_p: float  # that so few values can give

    @property
    def counts(self) -> str:
        """`3` pairs, or `3, 4` values."""
        return str(self.num[0]) if self.paired else f"{self.num[0]}, {self.num[1]}"


def contrast(first: Sequence[float], second: Sequence[float], paired: bool) -> Contrast:
    """Return how two settings differ. Paired values stand in the same order; raises ValueError if they are not as many.

    Values are finite.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if not len(a) or not len(b) or (paired and len(a) != len(b)):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be compared{' in pairs' if paired else ''}")
    low, high = _interval(a, b, paired)
    least = 2.0 ** (1 - len(a)) if paired else _least_of_two(len(a), len(b))
    return Contrast(
        (len(a), len(b)), paired, float(a.mean() - b.mean()), low, high, _p_value(a, b, paired), min(1.0, least)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being looked at together: the i-th smallest of m times m - i + 1, never below the
    one before, at most 1.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = min(1.0, max(largest, (len(p_values) - place) * p_values[number]))
        corrected[number] = largest
    return corrected


def fewest_pairs(comparisons: int = 1) -> int:
    """Return how many pairs can give a p-value below `ALPHA` in the most favourable of so many comparisons."""
    return 1 + math.ceil(math.log2(max(1, comparisons) / ALPHA))


def _p_value(a: Values, b: Values, paired: bool) -> float:
    if min(len(a), len(b)) < 2 or not (a - b if paired else np.concatenate([a, b]) - a[0]).any():
        return 1.0
    from scipy import stats  # slow to import

    options: dict[str, Any] = {"vectorized": True, "n_resamples": _RESAMPLES, "random_state": 0}
    if paired:
        found = stats.permutation_test((a - b,), np.mean, permutation_type="samples", **options)
    else:
        found = stats.permutation_test((a, b), _difference, permutation_type="independent", **options)
    return float(found.pvalue)


def _difference(a: Values, b: Values, axis: int) -> Values:
    difference: Values = a.mean(axis=axis) - b.mean(axis=axis)
    return difference


def _interval(a: Values, b: Values, paired: bool) -> tuple[float | None, float | None]:
    if min(len(a), len(b)) < 2:
        return None, None
    if all(np.ptp(one) <= _ROUNDING * np.abs(one).max() for one in ([a - b] if paired else [a, b])):  # t is 0 / 0
        return float(a.mean() - b.mean()), float(a.mean() - b.mean())
    from scipy import stats

    found = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
    interval = found.confidence_interval(1 - ALPHA)
    return float(interval.low), float(interval.high)


def _least_of_two(first: int, second: int) -> float:
    """Return the smallest two-sided p-value of two groups: twice one of all ways to deal the values."""
    return 2.0 / math.comb(first + second, first) if min(first, second) > 1 else 1.0
