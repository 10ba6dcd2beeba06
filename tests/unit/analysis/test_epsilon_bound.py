"""The bound of epsilon from two samples: Clopper-Pearson by its definition, Gaussians whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from flspec.analysis.epsilon_bound import epsilon_bound, largest_bound, upper_limit
from tests.unit.privacy.privacy_cases import gaussian_epsilon

Floats = NDArray[np.float64]


@pytest.mark.parametrize(("errors", "num"), [(0, 10), (1, 10), (9, 10), (3, 400), (37, 50), (0, 100_000)])
@pytest.mark.parametrize("level", [0.9, 0.975])
def test_a_rate_at_the_limit_gives_so_few_errors_by_chance_alone(errors, num, level):
    """Its definition: at the limit, as few errors have the probability 1 - level (Clopper and Pearson 1934)."""
    limit = float(upper_limit(errors, num, level))
    assert stats.binom.cdf(errors, num, limit) == pytest.approx(1 - level, rel=1e-9)
    both = 2 * level - 1
    assert limit == pytest.approx(stats.binomtest(errors, num).proportion_ci(both, method="exact").high, rel=1e-9)


def test_without_an_error_the_limit_is_a_root_and_with_errors_alone_it_is_one():
    assert float(upper_limit(0, 1000, 0.975)) == pytest.approx(1 - 0.025 ** (1 / 1000), rel=1e-9)
    assert upper_limit([4, 5, 5], 5, 0.975)[1:].tolist() == [1.0, 1.0]


def gaussians(distance: float, seed: int, trials: int = 40_000) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=trials), rng.normal(size=trials) + distance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("noise", "delta"), [(1.0, 0.01), (0.7, 0.01), (2.0, 0.001)])
def test_of_gaussians_the_bound_is_below_the_truth_and_above_half_of_it(seed, noise, delta):
    truth = gaussian_epsilon(noise, 1.0, delta)
    assert truth / 2 < epsilon_bound(*gaussians(1 / noise, seed), delta, 0.95).epsilon < truth


def test_of_equal_samples_nothing_follows():
    assert [epsilon_bound(*gaussians(0.0, seed, 2000), 1e-5, 0.95).epsilon for seed in range(20)].count(0.0) >= 19


def test_samples_apart_show_as_much_as_their_number_allows():
    bound = epsilon_bound(np.zeros(2000), np.ones(2000), 0.01, 0.95)
    assert (bound.false_alarms, bound.misses, bound.num_tested) == (0, 0, 1000)
    limit = 1 - 0.025 ** (1 / 1000)
    assert bound.epsilon == pytest.approx(math.log((0.99 - limit) / limit))
    assert bound.epsilon == pytest.approx(largest_bound(2000, 0.01, 0.95))


def test_the_trials_that_choose_the_threshold_are_not_counted():
    """Of the first half all are told apart, of the second none: the bound is of the second."""
    without, present = np.zeros(2000), np.concatenate([np.ones(1000), np.zeros(1000)])
    bound = epsilon_bound(without, present, 0.01, 0.95)
    assert (bound.epsilon, bound.misses) == (0.0, 1000)


def test_the_bound_is_wrong_no_more_often_than_its_confidence_says():
    """Samples whose epsilon is reached by one test: a coin with error rates of 0.2, randomised response."""
    rng, truth, wrong = np.random.default_rng(0), math.log(0.8 / 0.2), 0
    for _ in range(400):
        coins = rng.random((2, 400)) < 0.2
        wrong += epsilon_bound(coins[0] * 1.0, 1.0 - coins[1], 0.0, 0.95).epsilon > truth
    assert stats.binom.sf(wrong - 1, 400, 0.05) > 1e-3
