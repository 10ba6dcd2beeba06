"""What cohorts drawn with replacement cost, held to every draw there can be, taken one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from flspec.privacy.accountant import spent
from flspec.privacy.calibration import noise_multiplier_for
from flspec.privacy.repeated_draws import most_draws
from tests.unit.privacy.privacy_cases import facts, gaussian_epsilon

GRID = np.arange(-40.0, 40.0, 2e-3)  # outcomes of a sum; all densities here are narrower than 20 on either side


def density(updates, draws, noise):
    """Of the noised sum of clipped updates, over all equally likely sequences of draws."""
    sums = [sum(drawn) for drawn in itertools.product(updates, repeat=draws)]
    return sum(norm.pdf(GRID, loc=value, scale=noise) for value in sums) / len(sums)


def delta(epsilon, one, other):
    """The hockey-stick divergence of two densities over `GRID`, in both directions."""
    step = GRID[1] - GRID[0]
    return max(np.maximum(p - math.exp(epsilon) * q, 0).sum() * step for p, q in ((one, other), (other, one)))


def test_one_round_costs_what_all_draws_together_say():
    """Three clients, of whom the third, opposite to the others, may be absent: the worst that there is."""
    noise, draws = 2.0, 3
    worst = delta(1.0, density([-1, -1, 1], draws, noise), density([-1, -1], draws, noise))
    cost = spent(facts("with_replacement", 3, float(draws), noise, worst), 1)
    assert cost.epsilon == pytest.approx(1.0, abs=2e-4)
    assert (cost.accountant, cost.rdp) == ("PLD", None)
    as_poisson = spent(facts("poisson", 3, float(draws), noise, worst), 1).epsilon
    assert as_poisson < 0.5  # which is accounting for something else


@pytest.mark.parametrize("updates", [[0, 0, 1], [-1, 1, 1], [1, -0.5, -1], [-0.3, 0.7, 1]])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_no_other_updates_cost_more(updates, epsilon):
    noise, draws = 2.0, 3
    absent = [density([one for place, one in enumerate(updates) if place != left], draws, noise) for left in range(3)]
    whole = density(updates, draws, noise)
    for without in absent:
        reached = delta(epsilon, whole, without)
        assert reached < 1e-9 or spent(facts("with_replacement", 3, 3.0, noise, reached), 1).epsilon >= epsilon - 1e-6


def test_two_rounds_cost_what_all_draws_together_say():
    noise, epsilon = 3.0, 1.0
    outcomes = np.arange(-22.0, 22.0, 0.05)
    present, absent = (
        sum(norm.pdf(outcomes, loc=sum(drawn), scale=noise) for drawn in itertools.product(updates, repeat=2))
        / len(updates) ** 2
        for updates in ([-1, -1, 1], [-1, -1])
    )
    both = [np.outer(one, one) * 0.05**2 for one in (present, absent)]
    worst = max(np.maximum(p - math.exp(epsilon) * q, 0).sum() for p, q in (both, both[::-1]))
    assert spent(facts("with_replacement", 3, 2.0, noise, worst), 2).epsilon == pytest.approx(epsilon, abs=2e-3)


def test_the_only_client_is_in_every_draw():
    """Then nothing is left to chance: one Gaussian of sensitivity 2 times the draws."""
    cost = spent(facts("with_replacement", 1, 4.0, 20.0, 1e-3), 10)
    assert cost.epsilon == pytest.approx(gaussian_epsilon(20.0 / math.sqrt(10), 8.0, 1e-3), rel=1e-5)


def test_it_costs_more_than_by_coins_with_half_the_noise_and_hardly_more_where_nobody_comes_twice():
    rare, often = (("with_replacement", clients, 5.0, 4.0, 1e-6) for clients in (10**6, 20))
    for given, most in ((rare, 1 + 1e-3), (often, 1.6)):
        cost = spent(facts(*given), 50).epsilon
        halved = spent(facts("poisson", *given[1:3], given[3] / 2, given[4]), 50).epsilon
        assert halved * (1 - 1e-3) <= cost <= most * halved


def test_a_mixture_of_dp_accounting_gives_the_same():
    from dp_accounting.pld.privacy_loss_distribution import from_mixture_gaussian_mechanism
    from scipy.stats import binom

    shares = binom.pmf(range(6), 5, 0.1)
    theirs = from_mixture_gaussian_mechanism(4.0, 2.0 * np.arange(6), shares, value_discretization_interval=1e-2)
    assert spent(facts("with_replacement", 50, 5.0, 4.0, 1e-4), 1).epsilon < theirs.get_epsilon_for_delta(1e-4)
    ours = spent(facts("with_replacement", 10, 5.0, 4.0, 1e-4), 20).epsilon
    assert ours == pytest.approx(theirs.self_compose(20).get_epsilon_for_delta(1e-4), rel=2e-3)


def test_how_often_a_client_comes_is_bounded_but_for_what_is_left_out():
    counts = np.random.default_rng(0).binomial(50, 0.1, 200_000)
    most = most_draws(50, 10, 1e-3)
    assert (counts > most).mean() < 1e-3 < (counts > most - 2).mean()
    assert most_draws(2, 10, 1e-12) == 2


def test_noise_for_a_target_is_found():
    run = facts("with_replacement", 1000, 20.0, 0.0, 1e-5)
    noise = noise_multiplier_for(run, 20, 2.0)
    costs = [spent(facts("with_replacement", 1000, 20.0, z, 1e-5), 20).epsilon for z in (noise, noise * 0.999)]
    assert costs[0] <= 2.0 < costs[1]
