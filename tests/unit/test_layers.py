"""Layers: shapes, weights and how they start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.layers import (
    Activation,
    AveragePool,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    chain,
    count_multiply_adds,
    initial_weights,
    parse_layers,
    trace,
)
from flspec.models.cnn import Cnn
from flspec.randomness import Stream


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        (Flatten(name="l"), (3, 4, 5), (60,)),
        (Flatten(name="l"), (7,), (7,)),
        (Dense(name="l", units=5), (7,), (5,)),
        (Conv(name="l", channels=8, kernel_size=3), (1, 28, 28), (8, 26, 26)),
        (Conv(name="l", channels=8, kernel_size=5, padding=2), (3, 28, 20), (8, 28, 20)),
        (Conv(name="l", channels=8, kernel_size=3), (2, 3, 3), (8, 1, 1)),
        (MaxPool(name="l", size=2), (3, 8, 6), (3, 4, 3)),
        (MaxPool(name="l", size=2), (3, 7, 5), (3, 3, 2)),  # an incomplete window is left out
        (AveragePool(name="l", size=3), (3, 9, 11), (3, 3, 3)),
        (Activation(name="l", function="relu"), (3, 7, 5), (3, 7, 5)),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else str(value),
)
def test_a_layer_turns_a_shape_into(layer, before, after):
    assert layer.output_shape(before) == after


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Dense(name="output", units=5), (1, 8, 8), r"'output' takes \[features\].*shape \[1, 8, 8\]"),
        (Conv(name="conv_1", channels=8, kernel_size=3), (64,), r"'conv_1' takes \[channels, height, width\]"),
        (MaxPool(name="pool_1", size=2), (64,), r"'pool_1' takes \[channels, height, width\]"),
        (Conv(name="conv_1", channels=8, kernel_size=5), (1, 4, 9), r"'conv_1' leaves nothing.*\[1, 4, 9\]"),
        (MaxPool(name="pool_1", size=2), (1, 8, 1), r"'pool_1' leaves nothing.*\[1, 8, 1\]"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_by_the_layers_name(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)


@pytest.mark.parametrize("wrong", [{"units": 0}, {"units": -3}, {"units": True}, {"units": 3, "colour": "red"}])
def test_a_layer_refuses_impossible_parameters(wrong):
    with pytest.raises(ValidationError):
        Dense(name="l", **wrong)


def test_weights_have_torchs_names_and_layouts():
    layers = chain([Conv(name="conv_1", channels=2, kernel_size=3), Flatten(name="f"), Dense(name="output", units=4)])
    shapes = {name: value.shape for name, value in initial_weights(layers, (1, 5, 5), Stream(0)).items()}
    assert shapes == {"conv_1.weight": (2, 1, 3, 3), "conv_1.bias": (2,), "output.weight": (4, 18), "output.bias": (4,)}


def test_initial_weights_are_float32_with_zero_biases():
    weights = initial_weights(chain([Dense(name="output", units=4)]), (6,), Stream(0))
    assert {value.dtype for value in weights.values()} == {np.dtype(np.float32)}
    assert not weights["output.bias"].any()
    assert weights["output.weight"].all()


def test_zeros_start_at_zero():
    weights = initial_weights(chain([Dense(name="output", units=4, initializer="zeros")]), (6,), Stream(0))
    assert not weights["output.weight"].any()


@pytest.mark.parametrize(
    ("layer", "shape", "fans"),
    [
        (Dense(name="l", units=300), (200,), 200 + 300),
        (Conv(name="l", channels=40, kernel_size=5), (30, 9, 9), (30 + 40) * 25),
    ],
    ids=["dense", "conv"],
)
def test_glorot_uniform_fills_the_interval_its_fans_give(layer, shape, fans):
    values = initial_weights(chain([layer]), shape, Stream(0))["l.weight"].astype(np.float64)
    limit = math.sqrt(6.0 / fans)
    assert 0.999 * limit < np.abs(values).max() <= np.float32(limit)
    assert values.var() == pytest.approx(limit**2 / 3, rel=0.02)
    assert values.var() != pytest.approx(2.0 / shape[0] / 3, rel=0.02)  # fan-in alone would be another model


def test_a_tensor_has_a_stream_of_its_own():
    small = initial_weights(chain([Dense(name="a", units=3)]), (2,), Stream(0))
    large = initial_weights(chain([Dense(name="a", units=3), Dense(name="b", units=4)]), (2,), Stream(0))
    assert np.array_equal(small["a.weight"], large["a.weight"])
    assert not np.array_equal(large["a.weight"].ravel()[:6], large["b.weight"].ravel()[:6])


def test_trace_names_the_shape_after_every_layer():
    layers = chain([Conv(name="c", channels=2, kernel_size=3), MaxPool(name="p", size=2), Flatten(name="f")])
    assert trace(layers, (1, 8, 8)) == {"input": (1, 8, 8), "c": (2, 6, 6), "p": (2, 3, 3), "f": (18,)}


def test_chain_feeds_each_layer_the_one_before_it():
    layers = chain([Flatten(name="f"), Dense(name="d", units=2), Activation(name="a", function="tanh")])
    assert [layer.inputs for layer in layers] == [("input",), ("f",), ("d",)]


def test_layers_survive_being_written_into_a_plan():
    layers = chain([Conv(name="c", channels=2, kernel_size=3), AveragePool(name="p", size=2), Flatten(name="f")])
    assert parse_layers([layer.model_dump(mode="json") for layer in layers]) == layers


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValidationError, match="lstm"):
        parse_layers([{"kind": "lstm", "name": "l"}])


def test_a_weight_is_used_at_every_position_of_its_output():
    layers = Cnn(channels=(2,), kernel_size=3, dense=()).layers((1, 4, 4), 10)
    conv, dense = (2 * 1 * 9 + 2) * 16, (10 * 8 + 10)
    assert count_multiply_adds(layers, (1, 4, 4)) == conv + dense
