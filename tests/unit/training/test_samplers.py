"""Samplers: who takes part."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.samplers.all import All
from flspec.samplers.uniform import Uniform


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
