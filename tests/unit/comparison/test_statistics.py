"""Differences are tested by what every change of signs gives, and nothing is called better that only chance made so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from flspec.comparison.statistics import ALPHA, Contrast, contrast, fewest_pairs, holm

Judge = Callable[[Sequence[Contrast]], bool]  # of several settings' contrasts: is any called better?


def test_the_p_value_of_pairs_is_the_share_of_signs_that_go_as_far() -> None:
    first, second = [0.9, 0.8, 0.85, 0.7, 0.95], [0.7, 0.75, 0.9, 0.6, 0.8]
    pairs = np.subtract(first, second)
    means = [abs(np.mean(pairs * signs)) for signs in itertools.product([1, -1], repeat=5)]
    share = np.mean([mean >= abs(pairs.mean()) - 1e-12 for mean in means])
    found = contrast(first, second, paired=True)
    assert found.p == pytest.approx(share)
    assert found.difference == pytest.approx(pairs.mean())
    assert found.least_p == 2 / 2**5


def test_the_p_value_of_others_is_the_share_of_dealings_that_go_as_far() -> None:
    first, second = [0.9, 0.8, 0.85], [0.7, 0.75, 0.6, 0.72]
    every = [*first, *second]
    apart = np.mean(first) - np.mean(second)
    dealt = [
        np.mean([every[i] for i in chosen]) - np.mean([every[i] for i in range(7) if i not in chosen])
        for chosen in itertools.combinations(range(7), 3)
    ]
    below, above = np.mean(np.array(dealt) <= apart + 1e-12), np.mean(np.array(dealt) >= apart - 1e-12)
    found = contrast(first, second, paired=False)
    assert found.p == pytest.approx(min(1.0, 2 * min(below, above)))  # two-sided: twice the smaller tail
    assert found.least_p == pytest.approx(2 / 35)


def test_the_interval_is_students() -> None:
    found = contrast([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], paired=True)
    half = 4.302652729911275 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)  # 97.5 % point of t with two degrees of freedom
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half))


@pytest.mark.parametrize(
    ("first", "second", "paired"),
    [([0.5], [0.4], True), ([0.5], [0.4], False), ([0.5] * 8, [0.5] * 8, True), ([0.5] * 3, [0.5] * 4, False)],
)
def test_what_cannot_be_told_has_p_1(first: list[float], second: list[float], paired: bool) -> None:
    assert contrast(first, second, paired).p == 1.0


def test_values_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 values cannot be compared in pairs"):
        contrast([1, 2], [1, 2, 3], paired=True)
    with pytest.raises(ValueError, match="0 and 1"):
        contrast([], [1], paired=False)


def test_holm_is_what_its_definition_gives_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("comparisons", [1, 3, 9])
def test_the_fewest_pairs_are_just_enough(comparisons: int) -> None:
    fewest = fewest_pairs(comparisons)
    assert 2.0 ** (1 - fewest) * comparisons <= ALPHA < 2.0 ** (2 - fewest) * comparisons


def by_what_is_done_here(contrasts: Sequence[Contrast]) -> bool:
    return any(p <= ALPHA for p in holm([one.p for one in contrasts]))


def without_correction(contrasts: Sequence[Contrast]) -> bool:
    return any(one.p <= ALPHA for one in contrasts)


def by_intervals_alone(contrasts: Sequence[Contrast]) -> bool:
    return any(one.low is not None and one.high is not None and one.low * one.high > 0 for one in contrasts)


def simulated(num: int, better_by: float = 0.0) -> Iterator[list[Contrast]]:
    """Comparisons of four settings by eight seeds, of which the last may be better.

    A seed makes all settings better or worse together, as a partition does, and each a little on its own.
    """
    rng = np.random.default_rng(5)
    for _ in range(num):
        values = 0.8 + rng.normal(scale=0.05, size=8) + rng.normal(scale=0.01, size=(4, 8))
        values[-1] += better_by
        yield [contrast(list(a), list(b), paired=True) for a, b in itertools.combinations(values, 2)]


def test_of_equal_settings_none_is_called_better_in_95_of_100_comparisons() -> None:
    comparisons = list(simulated(100))

    def claims(judge: Judge) -> int:
        return sum(map(judge, comparisons))

    assert claims(by_what_is_done_here) <= 5
    assert claims(without_correction) > 10
    assert claims(by_intervals_alone) > 10


def test_a_real_difference_is_called_better() -> None:
    assert all(map(by_what_is_done_here, simulated(20, better_by=0.03)))
