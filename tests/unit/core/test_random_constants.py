"""The generator of all draws, against its published answers and its definition in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.core.randomness import Stream
from tests.by_hand import draws

NAMES = [(0,), (7, "batches", 3, 12), (2**63 - 1, "step", 4, "transform", 0, "top"), (5, "Größe")]


@pytest.mark.parametrize(
    ("counter", "key", "published"),
    [  # kat_vectors of Random123 1.14, rows `philox4x64 10`
        (0, 0, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        (2**256 - 1, 2**128 - 1, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
    ],
)
def test_philox_by_hand_gives_the_published_answers(counter, key, published):
    assert [f"{word:016x}" for word in draws.block(counter, key)] == published.split()


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_stream_is_philox_keyed_by_the_hash_of_its_name(name):
    assert Stream(*name).words(9).tolist() == draws.words(9, *name)
    assert Stream(*name).uniform(9).tolist() == draws.uniforms(9, *name)
    assert Stream(*name).permutation(50).tolist() == draws.order(50, *name)
    assert Stream(name[0]).child(*name[1:]).words(3).tolist() == draws.words(3, *name)


def test_a_choice_is_the_first_of_an_order_ascending():
    assert Stream(3, "cohort", 1).choice(20, 6).tolist() == sorted(draws.order(20, 3, "cohort", 1)[:6])


def test_normal_and_dirichlet_values_are_inverse_distribution_functions():
    from scipy import stats

    drawn = np.array(draws.uniforms(6, 1, "x"))
    np.testing.assert_allclose(Stream(1, "x").normal(6), stats.norm.ppf(drawn), rtol=1e-12)
    gammas = stats.gamma.ppf(drawn, 0.3)
    np.testing.assert_allclose(Stream(1, "x").dirichlet(0.3, 6), gammas / gammas.sum(), rtol=1e-9)
