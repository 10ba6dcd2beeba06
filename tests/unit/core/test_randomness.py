"""Streams: the words never move, and each distribution is the one it claims to be."""

from __future__ import annotations

import hashlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from flspec.core.randomness import Stream

DRAWS = 20_000
IMPROBABLE = 1e-4  # the seeds are fixed: a right sampler passes always, a wrong one fails always

# The first words of three streams. If these move, every published plan digest moves: they must never.
GOLDEN = {
    (0,): [0xE7E77804B51C6373, 0xAB165BF0F7A683D2, 0x01D5E353A18145DD, 0xA651ABE761CE403E],
    (0, "weights"): [0xCF2ED3FED257CFE3, 0x2548D39D722221B9, 0xE5D2F83028A04ADE, 0xE06141A645078F43],
    (2**63 - 1, "batches", 1, 2): [0xF6B6629A011719E1, 0xDC4BB04C4A520B82, 0x79658B2B631319EE, 0x0340F72611456C96],
}


@pytest.mark.parametrize("name", GOLDEN, ids=str)
def test_the_first_words_of_a_stream_never_move(name):
    assert [int(word) for word in Stream(*name).words(4)] == GOLDEN[name]


def philox_block(key: int, counter: int, rounds: int = 10) -> list[int]:
    """Philox4x64 of Salmon et al. 2011, figure 2, in Python's integers."""
    mask = 2**64 - 1
    c, k = [counter, 0, 0, 0], [key & mask, key >> 64]
    for _ in range(rounds):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def test_words_are_philox_keyed_by_the_sha256_of_seed_and_name():
    key = int.from_bytes(hashlib.sha256(json.dumps([7, "cohort", 3]).encode()).digest()[:16], "little")
    words = [int(word) for word in Stream(7, "cohort", 3).words(8)]
    assert words == philox_block(key, 1) + philox_block(key, 2)
    assert words[:4] != philox_block(key, 1, rounds=9)


def test_a_longer_draw_extends_a_shorter_one():
    assert np.array_equal(Stream(3, "a").words(100)[:10], Stream(3, "a").words(10))
    assert np.array_equal(Stream(3, "a").uniform(100)[:10], Stream(3, "a").uniform(10))
    assert np.array_equal(Stream(3, "a").normal(100)[:10], Stream(3, "a").normal(10))


def test_drawing_twice_goes_on_where_the_first_draw_ended():
    stream = Stream(3, "a")
    assert np.array_equal(np.concatenate([stream.words(3), stream.words(5)]), Stream(3, "a").words(8))


def test_streams_that_take_turns_and_threads_do_not_disturb_each_other():
    one, other = Stream(3, "a"), Stream(3, "b")
    turns = [(one.words(3), other.words(5)) for _ in range(4)]
    assert np.array_equal(np.concatenate([a for a, _ in turns]), Stream(3, "a").words(12))
    assert np.array_equal(np.concatenate([b for _, b in turns]), Stream(3, "b").words(20))
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda name: Stream(3, "thread", name).words(5_000), range(200)))
    assert all(np.array_equal(words, Stream(3, "thread", name).words(5_000)) for name, words in enumerate(drawn))


def test_a_child_is_the_stream_of_the_longer_name_and_does_not_advance_its_parent():
    parent = Stream(3, "a")
    assert np.array_equal(parent.child("b", 1).words(4), Stream(3, "a", "b", 1).words(4))
    assert np.array_equal(parent.words(4), Stream(3, "a").words(4))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a"), (1, "a")),
        ((0, "a"), (0, "b")),
        ((0, "a", "b"), (0, "ab")),
        ((0, "1"), (0, 1)),
        ((0, "a", 1, 23), (0, "a", 12, 3)),
    ],
    ids=str,
)
def test_streams_of_different_names_share_no_word(one, other):
    assert not set(Stream(*one).words(1000)) & set(Stream(*other).words(1000))


def test_streams_of_neighbouring_names_are_uncorrelated():
    columns = [Stream(0, "cohort", number).uniform(DRAWS) for number in range(5)]
    correlations = np.asarray(np.corrcoef(columns))[np.triu_indices(5, 1)]
    bound = stats.norm.isf(IMPROBABLE) / np.sqrt(DRAWS)
    assert np.abs(correlations).max() < bound
    shifted = [columns[0], columns[0] + 0.1 * columns[1]]  # the wrong variant: one stream leaks into the other
    assert np.asarray(np.corrcoef(shifted))[0, 1] > bound


def test_uniform_values_are_uniform():
    values = Stream(0, "uniform").uniform(DRAWS)
    assert stats.kstest(values, "uniform").pvalue > IMPROBABLE
    assert stats.kstest(values**1.1, "uniform").pvalue < IMPROBABLE


def test_uniform_values_are_cell_middles_so_never_0_or_1():
    class Extreme(Stream):
        def words(self, count):
            return np.array([0, 2**64 - 1], np.uint64)

    low, high = Extreme(0).uniform(2)
    assert 0.0 < low == 2.0**-53
    assert high == 1.0 - 2.0**-53 < 1.0


def test_normal_values_are_normal():
    values = Stream(0, "normal").normal(DRAWS)
    assert stats.kstest(values, "norm").pvalue > IMPROBABLE
    assert stats.kstest(values * 1.1, "norm").pvalue < IMPROBABLE


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_a_permutation_holds_every_number_once(count):
    assert sorted(Stream(0, "p").permutation(count)) == list(range(count))


def test_every_permutation_is_equally_likely():
    drawn = [tuple(Stream(0, "p", number).permutation(3)) for number in range(6000)]
    assert evenly_spread(drawn, itertools.permutations(range(3)))
    repeated = [tuple(np.roll(range(3), number)) for number in range(6000)]  # rotations only
    assert not evenly_spread(repeated, itertools.permutations(range(3)))


def test_a_choice_is_an_ascending_set_of_the_asked_size():
    chosen = Stream(0, "c").choice(100, 10)
    assert sorted(set(chosen)) == list(chosen)
    assert len(chosen) == 10
    assert list(Stream(0, "c").choice(4, 4)) == [0, 1, 2, 3]


def test_every_choice_is_equally_likely():
    drawn = [tuple(Stream(0, "c", number).choice(5, 2)) for number in range(10_000)]
    assert evenly_spread(drawn, itertools.combinations(range(5), 2))
    neighbours = [(number % 4, number % 4 + 1) for number in range(10_000)]
    assert not evenly_spread(neighbours, itertools.combinations(range(5), 2))


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_each_dirichlet_share_has_the_beta_marginal(alpha):
    shares = np.array([Stream(0, "d", number).dirichlet(alpha, 4)[0] for number in range(3000)])
    marginal = stats.beta(alpha, 3 * alpha)
    assert stats.kstest(shares, marginal.cdf).pvalue > IMPROBABLE
    uniforms = np.array([Stream(0, "d", number).uniform(4) for number in range(3000)])
    normalised = uniforms[:, 0] / uniforms.sum(axis=1)  # the usual mistake
    assert stats.kstest(normalised, marginal.cdf).pvalue < IMPROBABLE


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-10, 1e-4, 1e-3, 2e-3, 1e-2, 1.0, 1e6])
def test_dirichlet_shares_are_not_negative_and_sum_to_one(alpha):
    for number in range(50):
        shares = Stream(0, "d", number).dirichlet(alpha, 5)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_vanishing_alpha_gives_everything_to_one_client_each_equally_often():
    shares = np.array([Stream(0, "d", number).dirichlet(1e-9, 4) for number in range(4000)])
    assert (np.sort(shares, axis=1) == [0, 0, 0, 1]).all()
    assert evenly_spread(shares.argmax(axis=1), range(4))
    assert not evenly_spread(np.zeros(4000, int), range(4))  # what arg max of underflowed values would give


def evenly_spread(drawn, outcomes) -> bool:
    """Whether the outcomes are about equally frequent (chi-square) and nothing else was drawn."""
    counts = dict.fromkeys(outcomes, 0)
    for outcome in drawn:
        counts[outcome] += 1
    return bool(stats.chisquare(list(counts.values())).pvalue > IMPROBABLE)
