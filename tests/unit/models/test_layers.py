"""Layers: shapes, weights and how they start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.core.randomness import Stream
from flspec.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Constant,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    MaxPool,
    Multiply,
    Normal,
    TransposedConv,
    chain,
    count_multiply_adds,
    count_parameters,
    draw_masks,
    initial_tensors,
    one_network,
    parameters_of,
    parse_layers,
    trace,
)
from flspec.models.cnn import Cnn


def initial_weights(layers, input_shape, stream):
    return initial_tensors(parameters_of(one_network(layers, input_shape)), stream)


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
        (MaxPool(name="l", size=3, stride=2, padding=1), (3, 8, 5), (3, 4, 3)),
        (Conv(name="l", channels=4, kernel_size=3, stride=2, padding=1), (2, 8, 7), (4, 4, 4)),
        (Conv(name="l", channels=4, kernel_size=1, stride=3), (2, 8, 7), (4, 3, 3)),
        (TransposedConv(name="l", channels=4, kernel_size=4, stride=2, padding=1), (2, 8, 7), (4, 16, 14)),
        (TransposedConv(name="l", channels=4, kernel_size=4), (2, 1, 1), (4, 4, 4)),
        (TransposedConv(name="l", channels=4, kernel_size=2, stride=3), (2, 3, 2), (4, 8, 5)),
        (TransposedConv(name="l", channels=4, kernel_size=3, padding=2), (2, 5, 6), (4, 3, 4)),
        (GlobalAveragePool(name="l"), (3, 7, 5), (3, 1, 1)),
        (GroupNorm(name="l", groups=3), (6, 7, 5), (6, 7, 5)),
        (BatchNorm(name="l", statistics="local"), (6, 7, 5), (6, 7, 5)),
        (Activation(name="l", function="relu"), (3, 7, 5), (3, 7, 5)),
        (Dropout(name="l", rate=0.5), (3, 7, 5), (3, 7, 5)),
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
        (
            TransposedConv(name="main.0", channels=8, kernel_size=4),
            (100,),
            r"'main.0' takes \[channels, height, width\]",
        ),
        (
            TransposedConv(name="main.0", channels=8, kernel_size=2, padding=1),
            (1, 1, 9),
            r"'main.0' leaves nothing.*\[1, 1, 9\]",
        ),
        (MaxPool(name="pool_1", size=2), (1, 8, 1), r"'pool_1' leaves nothing.*\[1, 8, 1\]"),
        (
            MaxPool(name="pool_1", size=3, padding=2),
            (1, 8, 8),
            r"'pool_1' pads by 2, more than half of its",
        ),
        (Conv(name="conv_1", channels=9, kernel_size=3, groups=3), (4, 9, 9), r"'conv_1' cannot split 4 channels"),
        (Conv(name="conv_1", channels=4, kernel_size=3, groups=3), (9, 9, 9), r"'conv_1' cannot split 9 channels"),
        (GroupNorm(name="bn1", groups=4), (6, 9, 9), r"'bn1' cannot split 6 channels into 4 groups"),
        (BatchNorm(name="bn1", statistics="frozen"), (6,), r"'bn1' takes \[channels, height, width\]"),
        (GlobalAveragePool(name="avgpool"), (6,), r"'avgpool' takes \[channels, height, width\]"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_by_the_layers_name(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (
            Add(name="add"),
            [(3, 4, 4), (3, 4, 5)],
            r"'add' adds two inputs of one shape, not \[\[3, 4, 4\]",
        ),
        (Add(name="add"), [(3, 4, 4)], r"'add' adds two inputs"),
        (Multiply(name="scale"), [(3, 4, 4), (3, 4, 4)], r"'scale' takes an image and a factor a channel"),
        (Multiply(name="scale"), [(3, 4, 4), (2, 1, 1)], r"'scale' takes an image and a factor a channel"),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused(layer, shapes, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(*shapes)


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


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [
        (Dense(name="l", units=300, initializer="he_normal"), (200,), 200),
        (Conv(name="l", channels=40, kernel_size=5, initializer="he_normal"), (30, 9, 9), 30 * 25),
        (Conv(name="l", channels=1200, kernel_size=5, groups=600, initializer="he_normal"), (600, 9, 9), 25),
    ],
    ids=["dense", "conv", "depthwise"],
)
def test_he_normal_has_the_variance_that_its_inputs_give(layer, shape, fan_in):
    values = initial_weights(chain([layer]), shape, Stream(0))["l.weight"].astype(np.float64)
    spread = values.std()
    assert spread == pytest.approx(math.sqrt(2.0 / fan_in), rel=0.02)
    assert abs(values.mean()) < 4 * spread / math.sqrt(values.size)
    assert (np.abs(values) > 3 * spread).mean() == pytest.approx(0.0027, rel=0.5)  # no normal is cut off there


def test_the_fan_in_of_a_transposed_convolution_counts_the_channels_that_come_in():
    layer = TransposedConv(name="l", channels=40, kernel_size=5, initializer="he_normal")
    values = initial_weights(chain([layer]), (300, 2, 2), Stream(0))["l.weight"].astype(np.float64)
    assert values.shape == (300, 40, 5, 5)
    assert values.std() == pytest.approx(math.sqrt(2.0 / (300 * 25)), rel=0.02)
    assert values.std() != pytest.approx(math.sqrt(2.0 / (40 * 25)), rel=0.5)


def test_a_normal_start_has_its_mean_and_deviation():
    layer = Dense(name="l", units=300, initializer=Normal(mean=1.0, std=0.02))
    values = initial_weights(chain([layer]), (200,), Stream(0))["l.weight"].astype(np.float64)
    assert values.mean() == pytest.approx(1.0, abs=4 * 0.02 / math.sqrt(values.size))
    assert values.std() == pytest.approx(0.02, rel=0.02)
    assert (np.abs(values - 1) > 3 * 0.02).mean() == pytest.approx(0.0027, rel=0.5)


def test_a_normal_start_is_the_planned_normal_draw_of_that_tensor():
    layer = Conv(name="c", channels=4, kernel_size=3, initializer=Normal(std=0.02))
    values = initial_weights(chain([layer]), (2, 5, 5), Stream(3, "weights"))["c.weight"]
    drawn = 0.02 * Stream(3, "weights", "c", "weight").normal(4 * 2 * 9)
    np.testing.assert_array_equal(values.ravel(), drawn.astype(np.float32))


def test_a_constant_start_is_that_value():
    layer = BatchNorm(name="b", statistics="averaged", initializer=Constant(value=0.25))
    started = initial_weights(chain([layer]), (2, 3, 3), Stream(0))
    assert (started["b.weight"] == np.float32(0.25)).all()
    assert not started["b.bias"].any()


@pytest.mark.parametrize(
    "wrong", [{"std": 0.0}, {"std": -1.0}, {"std": math.inf}, {"mean": 1.0}, {"std": 1.0, "cut": 2}]
)
def test_a_normal_start_refuses_impossible_parameters(wrong):
    with pytest.raises(ValidationError):
        Normal(**wrong)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"function": "leaky_relu"}, "layer 'a': leaky_relu needs a slope"),
        ({"function": "relu", "slope": 0.2}, "layer 'a': relu has no slope, but is given 0.2"),
        ({"function": "leaky_relu", "slope": 1.0}, "less than 1"),
        ({"function": "leaky_relu", "slope": -0.1}, "greater than or equal to 0"),
    ],
)
def test_a_slope_is_leaky_relus_alone(fields, message):
    with pytest.raises(ValidationError, match=message):
        Activation(name="a", **fields)


def test_norms_start_as_the_identity_of_what_is_normal_already():
    layers = chain([GroupNorm(name="g", groups=1), BatchNorm(name="b", statistics="averaged")])
    started = initial_weights(layers, (2, 3, 3), Stream(0))
    ones = {name for name, value in started.items() if (value == 1).all()}
    zeros = {name for name, value in started.items() if (value == 0).all()}
    assert ones == {"g.weight", "b.weight", "b.running_var"}
    assert zeros == {"g.bias", "b.bias", "b.running_mean"}


def test_a_tensor_has_a_stream_of_its_own():
    small = initial_weights(chain([Dense(name="a", units=3)]), (2,), Stream(0))
    large = initial_weights(chain([Dense(name="a", units=3), Dense(name="b", units=4)]), (2,), Stream(0))
    assert np.array_equal(small["a.weight"], large["a.weight"])
    assert not np.array_equal(large["a.weight"].ravel()[:6], large["b.weight"].ravel()[:6])


def test_trace_names_the_shape_after_every_layer():
    layers = chain([Conv(name="c", channels=2, kernel_size=3), MaxPool(name="p", size=2), Flatten(name="f")])
    assert trace(one_network(layers, (1, 8, 8))) == {"input": (1, 8, 8), "c": (2, 6, 6), "p": (2, 3, 3), "f": (18,)}


def test_chain_feeds_each_layer_the_one_before_it():
    layers = chain([Flatten(name="f"), Dense(name="d", units=2), Activation(name="a", function="tanh")])
    assert [layer.inputs for layer in layers] == [("input",), ("f",), ("d",)]


def test_layers_survive_being_written_into_a_plan():
    layers = chain(
        [
            Conv(name="c", channels=2, kernel_size=3, initializer=Normal(std=0.02)),
            BatchNorm(name="b", statistics="averaged", initializer=Normal(mean=1.0, std=0.02)),
            Activation(name="a", function="leaky_relu", slope=0.2),
            AveragePool(name="p", size=2),
            TransposedConv(name="t", channels=2, kernel_size=3, stride=2, initializer=Constant(value=1.0)),
            Flatten(name="f"),
        ]
    )
    assert parse_layers([layer.model_dump(mode="json") for layer in layers]) == layers


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValidationError, match="lstm"):
        parse_layers([{"kind": "lstm", "name": "l"}])


def test_a_weight_is_used_at_every_position_of_its_output():
    layers = Cnn(channels=(2,), kernel_size=3, dense=()).layers((1, 4, 4), 10)
    conv, dense = (2 * 1 * 9 + 2) * 16, (10 * 8 + 10)
    assert count_multiply_adds(one_network(layers, (1, 4, 4))) == conv + dense


def test_a_transposed_convolutions_kernel_is_used_at_every_position_of_its_input():
    layers = chain([TransposedConv(name="l", channels=5, kernel_size=4, stride=2, padding=1)])
    assert count_multiply_adds(one_network(layers, (3, 6, 7))) == 3 * 5 * 16 * (6 * 7) + 5 * (12 * 14)
    unbiased = chain([TransposedConv(name="l", channels=5, kernel_size=4, stride=2, padding=1, bias=False)])
    assert count_multiply_adds(one_network(unbiased, (3, 6, 7))) == 3 * 5 * 16 * (6 * 7)
    assert count_parameters(one_network(layers, (3, 6, 7))) == 3 * 5 * 16 + 5


def test_the_tensors_of_a_frozen_layer_are_constants_of_the_plan_and_still_parameters():
    free, frozen = (chain([Conv(name="c", channels=2, kernel_size=3, frozen=frozen)]) for frozen in (False, True))
    told = [
        {(t.placement, t.is_learned) for t in parameters_of(one_network(layers, (1, 5, 5))).values()}
        for layers in (free, frozen)
    ]
    assert told == [{("server", True)}, {("plan", False)}]
    assert count_parameters(one_network(free, (1, 5, 5))) == count_parameters(one_network(frozen, (1, 5, 5))) == 20


def test_what_a_layer_does_not_ask_for_is_not_written_into_plans():
    plain = Conv(name="c", channels=2, kernel_size=3)
    assert not {"stride", "groups", "bias", "frozen"} & set(plain.model_dump())
    assert set(BatchNorm(name="b", statistics="frozen").model_dump()) == {
        "kind",
        "name",
        "inputs",
        "statistics",
        "momentum",
        "epsilon",
    }
    assert set(Activation(name="a", function="relu").model_dump()) == {"kind", "name", "inputs", "function"}
    told = Conv(name="c", channels=2, kernel_size=3, stride=2, groups=2, bias=False, frozen=True).model_dump()
    assert {"stride": 2, "groups": 2, "bias": False, "frozen": True}.items() <= told.items()


# ------------------------------------------------------------------------------------------------------- dropout


def masks_of(rate, drops="value", seed=0, shape=(8, 25, 25), num_examples=20):
    layers = chain([Dropout(name="d", rate=rate, drops=drops)])
    return draw_masks(one_network(layers, shape), num_examples, Stream(seed))["d"]


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_scales_what_it_keeps(rate):
    masks = masks_of(rate)
    assert set(np.unique(masks)) == {np.float32(0), np.float32(1 / (1 - rate))}
    spread = math.sqrt(rate * (1 - rate) / masks.size)
    assert abs((masks == 0).mean() - rate) < 4 * spread
    assert masks.mean() == pytest.approx(1, abs=4 * spread / (1 - rate))


def test_neighbouring_values_are_dropped_independently():
    """Each word gives two draws, which must not go together."""
    dropped = masks_of(0.5).ravel() == 0
    for lag in (1, 2, 3):
        together = (dropped[lag:] & dropped[:-lag]).mean()
        assert together == pytest.approx(0.25, abs=4 * math.sqrt(3 / 16 / dropped.size))


def test_a_dropped_example_is_dropped_whole():
    masks = masks_of(0.5, drops="example", num_examples=400)
    assert masks.shape == (400, 1, 1, 1)
    assert set(np.unique(masks)) == {0, 2}
    assert abs((masks == 0).mean() - 0.5) < 4 * 0.5 / 20


def test_each_dropout_has_a_stream_of_its_own_and_each_step_draws_anew():
    layers = chain([Dropout(name="a", rate=0.5), Dropout(name="b", rate=0.5)])
    first, again, other = (draw_masks(one_network(layers, (50,)), 2, Stream(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], other["a"])


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_that_drops_nothing_or_everything_is_no_dropout(rate):
    with pytest.raises(ValidationError):
        Dropout(name="d", rate=rate)
