"""Samplers: who takes part."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from flspec.core.randomness import Stream
from flspec.samplers import Sampler, Sampling
from flspec.samplers.all import All
from flspec.samplers.poisson import Poisson, TruncatedPoisson
from flspec.samplers.uniform import Uniform
from flspec.samplers.with_replacement import WithReplacement


def test_all_is_everybody_in_order():
    assert list(All().cohort(4, Stream(0))) == [0, 1, 2, 3]


def test_uniform_draws_the_asked_number_of_different_clients_in_order():
    cohort = Uniform(size=5).cohort(100, Stream(0, "cohort", 1))
    assert len(cohort) == 5
    assert list(cohort) == sorted(set(cohort))


def test_uniform_gives_each_round_a_cohort_of_its_own():
    cohorts = {tuple(Uniform(size=3).cohort(50, Stream(0, "cohort", number))) for number in range(20)}
    assert len(cohorts) == 20


def test_uniform_is_decided_by_the_rounds_stream():
    again = [Uniform(size=3).cohort(50, Stream(0, "cohort", 7)) for _ in range(2)]
    first, second = again
    assert np.array_equal(first, second)


def test_uniform_chooses_every_client_equally_often():
    rounds = 4000
    counts = np.zeros(10)
    for number in range(rounds):
        counts[Uniform(size=3).cohort(10, Stream(0, "cohort", number))] += 1
    deviation = np.abs(counts - 0.3 * rounds).max() / np.sqrt(rounds * 0.3 * 0.7)
    assert deviation < 4.0
    favoured = np.bincount(np.arange(3 * rounds) % 9, minlength=10)  # never the last: an off-by-one
    assert np.abs(favoured - 0.3 * rounds).max() / np.sqrt(rounds * 0.3 * 0.7) > 4.0


@pytest.mark.parametrize("size", [1, 10])
def test_uniform_takes_up_to_every_client(size):
    assert Uniform(size=size).why_invalid(10) is None


def test_uniform_names_both_numbers_when_there_are_too_few_clients():
    problem = Uniform(size=11).why_invalid(10)
    assert problem
    assert "cohort.size is 11" in problem
    assert "partition.clients is 10" in problem


N, SIZE, ROUNDS = 12, 4, 6000


def inclusion(sampler, clients=N, rounds=ROUNDS):
    """[rounds, clients]: whether each is in the cohort."""
    member = np.zeros((rounds, clients), bool)
    for number in range(rounds):
        member[number, sampler.cohort(clients, Stream(3, "cohort", number))] = True
    return member


def looks_poisson(member, probability):
    """Whether each client is in with the probability, and each two independently of each other, as far as one sees."""
    rounds, clients = member.shape
    z = (member.mean(axis=0) - probability) / np.sqrt(probability * (1 - probability) / rounds)
    pairs = np.corrcoef(member.T)[np.triu_indices(clients, 1)] * np.sqrt(rounds)
    in_a_row = np.array([np.corrcoef(one[1:], one[:-1])[0, 1] for one in member.T]) * np.sqrt(rounds)
    return all(np.abs(part).max() < 4.5 for part in (z, pairs, in_a_row)) and abs(pairs.mean()) < 0.6


def test_poisson_cohorts_are_independent_coins():
    member = inclusion(Poisson(size=SIZE))
    assert looks_poisson(member, SIZE / N)
    sizes = member.sum(axis=1)
    assert sizes.mean() == pytest.approx(SIZE, abs=0.1)
    assert sizes.var() == pytest.approx(N * (SIZE / N) * (1 - SIZE / N), rel=0.08)
    expected = stats.binom.pmf(np.arange(N + 1), N, SIZE / N) * ROUNDS
    counts = np.bincount(sizes, minlength=N + 1)
    enough = expected > 5
    chi_squared = ((counts - expected)[enough] ** 2 / expected[enough]).sum()
    assert stats.chi2.sf(chi_squared, enough.sum() - 1) > 1e-5


def test_a_fixed_size_does_not_pass_for_poisson():
    assert not looks_poisson(inclusion(Uniform(size=SIZE)), SIZE / N)


def test_poisson_cohorts_are_empty_as_often_as_coins_say():
    empty = (inclusion(Poisson(size=1), 10, 3000).sum(axis=1) == 0).mean()
    assert empty == pytest.approx(0.9**10, abs=0.04)


def test_all_clients_come_where_the_size_is_their_number():
    assert inclusion(Poisson(size=N), rounds=50).all()


def test_truncated_cohorts_are_poisson_ones_of_which_no_more_stay():
    whole, cut = inclusion(Poisson(size=SIZE)), inclusion(TruncatedPoisson(size=SIZE, most=5))
    small = whole.sum(axis=1) <= 5
    assert np.array_equal(whole[small], cut[small])
    assert (cut <= whole).all()
    assert (cut[~small].sum(axis=1) == 5).all()
    kept = cut[~small].mean(axis=0)  # who stays is drawn, too
    assert np.abs(kept - kept.mean()).max() < 4.5 * np.sqrt(0.25 / (~small).sum())


def test_the_largest_cohort_is_by_default_four_deviations_above_the_expected():
    assert TruncatedPoisson(size=200).largest == 257
    assert TruncatedPoisson(size=50).sampling(1000) == Sampling("truncated_poisson", 50, 79)
    assert Poisson(size=50).sampling(1000) == Sampling("poisson", 50)


def test_a_sampler_says_how_cohorts_come_about_or_that_nobody_knows():
    class Odd(All):
        kind: ClassVar[str] = "odd_one"  # type: ignore[misc]

        def sampling(self, num_clients: int) -> Sampling:
            return Sampler.sampling(self, num_clients)

    assert All().sampling(9) == Sampling("everybody", 9)
    assert Uniform(size=3).sampling(9) == Sampling("fixed_size", 3)
    assert Odd().sampling(9).kind == "unknown"


def test_each_draw_with_replacement_is_of_any_client_whoever_was_drawn_before():
    rounds, size, clients = 4000, 6, 4
    cohorts = [WithReplacement(size=size).cohort(clients, Stream(0, "cohort", number)) for number in range(rounds)]
    assert all(len(cohort) == size and (np.diff(cohort) >= 0).all() for cohort in cohorts)
    times = np.array([np.bincount(cohort, minlength=clients) for cohort in cohorts])
    for client in range(clients):  # binomial, as the accountant has it
        expected = np.asarray(rounds * stats.binom.pmf(range(size + 1), size, 1 / clients))
        seen = np.bincount(times[:, client], minlength=size + 1)
        assert stats.chisquare(seen[:5], expected[:5] * seen[:5].sum() / expected[:5].sum()).pvalue > 1e-3
    # and one client's draws are another one's loss: cov = -size / clients^2
    assert np.cov(times[:, 0], times[:, 1])[0, 1] == pytest.approx(-size / clients**2, abs=0.05)


def test_draws_with_replacement_may_be_more_than_there_are_clients_and_say_what_they_are():
    sampler = WithReplacement(size=7)
    assert sampler.cohort(1, Stream(0)).tolist() == [0] * 7
    assert sampler.why_invalid(1) is None
    assert sampler.sampling(3) == Sampling("with_replacement", 7)
    assert (sampler.may_repeat, Uniform(size=1).may_repeat) == (True, False)
