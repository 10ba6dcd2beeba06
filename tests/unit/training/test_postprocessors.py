"""Postprocessors against their definitions, and where in a round they take place."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.postprocessors.clip_update import ClipUpdate
from flspec.protocol.updates import ClientUpdate

DELTA = {"a": np.array([3.0, 0.0]), "b": np.array(4.0)}  # of norm 5, a tensor without dimensions included


@pytest.mark.parametrize(("norm", "length"), [(1.0, 1.0), (5.0, 5.0), (6.0, 5.0)])
def test_an_update_is_as_long_as_it_may_be(norm, length):
    clipped = ClipUpdate(norm=norm).on_each(DELTA, {}, Stream(0))
    assert np.sqrt(sum(np.square(value).sum() for value in clipped.values())) == pytest.approx(length, rel=1e-12)
    assert clipped["a"][0] / clipped["b"] == pytest.approx(3 / 4)


def test_it_is_not_each_tensor_that_is_clipped():
    clipped = ClipUpdate(norm=3.5).on_each(DELTA, {}, Stream(0))
    assert clipped["a"].tolist() != [3.0, 0.0]  # though it is shorter than 3.5 by itself


def test_updates_are_clipped_before_they_are_averaged(make_plan):
    plan = make_plan(model={"kind": "softmax_regression"}, postprocessors=[{"kind": "clip_update", "norm": 1.0}])
    state = initial_state(plan)
    shapes = {name: np.zeros_like(weight) for name, weight in state.weights.items()}
    updates = [
        ClientUpdate(client, {**shapes, "output.bias": np.array(bias, np.float32)}, 1.0, 1, {})
        for client, bias in enumerate([[30.0, 0, 0], [0, 0.5, 0]])
    ]
    after = finish_round(plan, state, updates).state.weights["output.bias"] - state.weights["output.bias"]
    assert after.tolist() == [0.5, 0.25, 0.0]
    assert after.tolist() != [1.0, 0.25 / 15, 0.0]  # the mean clipped instead


def test_postprocessors_are_in_the_digest_in_their_order(make_plan):
    both = [{"kind": "clip_update", "norm": 1.0}, {"kind": "clip_update", "norm": 2.0}]
    plans = [make_plan(), *(make_plan(postprocessors=some) for some in (both, both[::-1], both[:1]))]
    assert len({plan.digest for plan in plans}) == 4
    assert plans[1].features == ["postprocessors"]
