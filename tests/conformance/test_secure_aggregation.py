"""Simulated secure aggregation: the same bits on local and Flower, equivalent on TFF, and dropouts are recovered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.spec.loading import load_spec
from tests.conformance.harness import BACKENDS

SPEC = {
    "flspec": 1,
    "name": "masked",
    "rounds": 3,
    "dataset": {"kind": "synthetic", "classes": 3, "features": 4, "train_examples": 120, "test_examples": 20},
    "partition": {"kind": "iid", "clients": 6},
    "model": {"kind": "softmax_regression"},
    "client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.5}},
    "faults": [{"kind": "dropout", "at": [[0, 1], [4, 1]]}, {"kind": "non_finite", "at": [[2, 2]]}],
}
MASKED = {"kind": "simulated_numerics", "fraction_bits": 8}


def planned(**more):
    return compile(load_spec({**SPEC, **more}))


@pytest.fixture(scope="module")
def masked(engines, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked") / "certificate"
    return engines.certify(planned(secure_aggregation=MASKED), engines.available(BACKENDS), folder)


def test_every_engine_sums_the_same(masked):
    if "flower:inprocess" in masked.certificate.backends:
        assert masked.verdict("flower:inprocess").bitwise
        flower = masked.result("flower:inprocess").rounds
        assert [one.sums for one in flower] == [one.sums for one in masked.result("local").rounds]
    if "tff" in masked.certificate.backends:
        assert masked.verdict("tff").verdict == "equivalent", masked.verdict("tff").reason
        assert [one.sums for one in masked.result("tff").rounds] == [one.sums for one in masked.result("local").rounds]
    assert [one.sums for one in masked.result("local").rounds] == [{"clipped": 0, "wrapped": 0}] * 3
    assert [len(one.failures) for one in masked.result("local").rounds] == [2, 1, 0]


def test_each_round_moves_the_weights_by_a_whole_number_of_steps(masked):
    """Rounds are off by half a step of the fixed point, from a step that is no multiple of it."""
    for before, after in itertools.pairwise(masked.states("local")):
        weight = 20 * (6 - len(masked.result("local").rounds[before.round].failures))
        for name, value in after.weights.items():
            words = (value.astype(float) - before.weights[name]) * weight * 256
            np.testing.assert_allclose(words, np.rint(words), atol=0.01)  # of float32 weights
            assert words.any()
