"""Clipping of gradients, by all tensors together and one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flspec.client_optimizers.sgd import Sgd
from flspec_torch.clipping import clip
from flspec_torch.optimizers import build_stepper

RNG = np.random.default_rng(0)


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float32) for value in values]


def flat(gradients):
    return np.concatenate([gradient.numpy().ravel() for gradient in gradients]).astype(np.float64)


def test_a_long_gradient_is_shortened_to_the_norm_and_keeps_its_direction():
    (got,) = clip(tensors([3.0, 4.0]), 1.0, "global")
    assert got.tolist() == pytest.approx([0.6, 0.8], rel=1e-7)
    assert float(np.linalg.norm(flat([got]))) == pytest.approx(1.0, rel=1e-7)
    theirs = 3.0 / (5.0 + 1e-6)  # torch's own adds 1e-6 to the norm
    assert abs(float(got[0]) - theirs) > 1e-7


@pytest.mark.parametrize("by", ["global", "tensor"])
def test_a_short_gradient_is_left_bit_for_bit(by):
    given = tensors([0.3, -0.4], [[0.1]])
    assert all(map(torch.equal, clip(given, 1.0, by), given))


def test_together_one_long_tensor_shortens_all_and_alone_only_itself():
    given = tensors([30.0, 40.0], [0.3, 0.4])
    together, alone = clip(given, 5.0, "global"), clip(given, 5.0, "tensor")
    scale = 5.0 / math.sqrt(2500.25)
    np.testing.assert_allclose(flat(together), scale * flat(given), rtol=1e-6)
    np.testing.assert_allclose(flat(alone), [3.0, 4.0, 0.3, 0.4], rtol=1e-6)
    assert np.abs(flat(together) - flat(alone)).max() > 0.1


@pytest.mark.parametrize("by", ["global", "tensor"])
def test_no_gradient_at_all_stays_none(by):
    assert not flat(clip(tensors([0.0, 0.0], [0.0]), 1e-9, by)).any()


@pytest.mark.parametrize("by", ["global", "tensor"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_is_not_hidden(by, value):
    first, second = clip(tensors([value, 1.0], [10.0]), 1.0, by)
    assert not torch.isfinite(first).all()
    assert by == "global" or second.tolist() == [1.0]


def test_a_finite_gradient_whose_square_is_no_float32_is_clipped_all_the_same():
    (got,) = clip(tensors([3e30, 4e30]), 1.0, "global")
    assert got.tolist() == pytest.approx([0.6, 0.8], rel=1e-6)


def test_the_norm_of_millions_of_values_is_exact_to_float32():
    values = torch.from_numpy(RNG.normal(size=3_000_001).astype(np.float32))
    exact = math.sqrt(float((values.double() ** 2).sum()))
    (got,) = clip([values], 1.0, "tensor")
    assert float(values[0] / got[0]) == pytest.approx(exact, rel=3e-7)
    careless = float(torch.linalg.vector_norm(values))
    assert abs(careless / exact - 1) > 1e-5


@pytest.mark.parametrize("shape", [(3, 70_000), (70_000, 3)])
def test_a_large_tensor_may_lie_in_memory_as_it_likes(shape):
    values = torch.from_numpy(RNG.normal(size=shape).astype(np.float32)).T
    (got,) = clip([values], 2.0, "global")
    np.testing.assert_allclose(got.double().norm(), 2.0, rtol=1e-6)
    assert got.shape == values.shape


def test_the_gradients_given_are_left_as_they_are():
    given = tensors([3.0, 4.0])
    clip(given, 1.0, "global")
    assert given[0].tolist() == [3.0, 4.0]


def test_it_is_the_gradient_that_is_clipped_and_not_the_step():
    weight = torch.zeros(2)
    build_stepper(Sgd(learning_rate=10.0, weight_decay=0.5), {"w": weight})(clip(tensors([3.0, 4.0]), 1.0, "global"))
    assert weight.tolist() == pytest.approx([-6.0, -8.0])  # a clipped step would be [-0.6, -0.8]
