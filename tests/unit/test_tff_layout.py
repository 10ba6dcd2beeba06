"""The map between the plan's weight layouts and TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.layers import Activation, AveragePool, Conv, Dense, Flatten, MaxPool, chain
from flspec_tff.layout import from_tensorflow, image_to_tensorflow, to_tensorflow, weight_layouts

IMAGE = (3, 6, 5)  # channels, height, width, all different
LAYERS = chain(
    [
        Conv(name="conv", channels=4, kernel_size=3, padding=1),
        Activation(name="conv_activation", function="relu"),
        MaxPool(name="pool", size=2),
        Flatten(name="flatten"),
        Activation(name="flat_activation", function="tanh"),
        Dense(name="dense", units=7),
        Activation(name="dense_activation", function="relu"),
        Dense(name="output", units=2),
    ]
)
LAYOUTS = weight_layouts(LAYERS, IMAGE)


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(layout.shape).astype(np.float32) for name, layout in LAYOUTS.items()}


def layout_of(name: str, layers: list, input_shape: tuple[int, ...]):
    return weight_layouts(chain(layers), input_shape)[name]


def test_every_weight_has_a_layout_in_the_order_of_the_layers():
    assert list(LAYOUTS) == [
        f"{layer}.{suffix}" for layer in ("conv", "dense", "output") for suffix in ("weight", "bias")
    ]


def test_tensorflow_shapes_are_those_of_channels_last_and_inputs_first():
    shapes = {name: layout.tf_shape for name, layout in LAYOUTS.items()}

    assert shapes == {
        "conv.weight": (3, 3, 3, 4),  # height, width, in, out
        "conv.bias": (4,),
        "dense.weight": (3 * 2 * 4, 7),
        "dense.bias": (7,),
        "output.weight": (7, 2),
        "output.bias": (2,),
    }


def test_going_to_tensorflow_and_back_changes_no_bit():
    weights = random_weights()

    back = from_tensorflow(LAYOUTS, to_tensorflow(LAYOUTS, weights))

    assert list(back) == list(weights)
    for name, weight in weights.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name].view(np.int32), weight.view(np.int32))


def test_coming_from_tensorflow_and_going_back_changes_no_bit():
    rng = np.random.default_rng(1)
    tensors = [rng.standard_normal(layout.tf_shape) for layout in LAYOUTS.values()]

    for before, after in zip(tensors, to_tensorflow(LAYOUTS, from_tensorflow(LAYOUTS, tensors)), strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_dense_weight_is_transposed():
    layout = layout_of("output.weight", [Dense(name="output", units=2)], (3,))

    there = layout.to_tensorflow(np.array([[1, 2, 3], [4, 5, 6]]))

    np.testing.assert_array_equal(there, [[1, 4], [2, 5], [3, 6]])


def test_a_dense_weight_on_a_flattened_image_takes_its_features_channels_last():
    # 2 channels, 1 row, 2 columns. Torch flattens to c0x0 c0x1 c1x0 c1x1, TensorFlow to c0x0 c1x0 c0x1 c1x1.
    layers = [Flatten(name="flatten"), Dense(name="output", units=2)]
    layout = layout_of("output.weight", layers, (2, 1, 2))

    there = layout.to_tensorflow(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]))

    np.testing.assert_array_equal(there, [[1, 5], [3, 7], [2, 6], [4, 8]])


def test_a_kernel_takes_its_outputs_last():
    layout = layout_of("conv.weight", [Conv(name="conv", channels=2, kernel_size=2)], (1, 2, 2))

    there = layout.to_tensorflow(np.array([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]))

    np.testing.assert_array_equal(there, [[[[1, 5]], [[2, 6]]], [[[3, 7]], [[4, 8]]]])


@pytest.mark.parametrize("between", [[], [Activation(name="activation", function="relu")], [Flatten(name="again")]])
def test_a_dense_layer_gives_the_same_on_either_flattening(between):
    image = np.arange(2 * 3 * 4).reshape(1, 2, 3, 4)  # positive, so that relu changes nothing
    weight = np.random.default_rng(2).integers(-9, 9, (5, image.size))
    layers = [Flatten(name="flatten"), *between, Dense(name="output", units=5)]
    layout = layout_of("output.weight", layers, image.shape[1:])

    channels_first = image.reshape(1, -1) @ weight.T
    channels_last = image_to_tensorflow(image).reshape(1, -1) @ layout.to_tensorflow(weight)

    np.testing.assert_array_equal(channels_last, channels_first)


def test_the_image_that_counts_is_the_one_that_was_flattened():
    layers = [AveragePool(name="pool", size=2), Flatten(name="flatten"), Dense(name="output", units=1)]

    assert layout_of("output.weight", layers, (2, 4, 6)).grid == (1, 2, 2, 3)


def test_a_dense_layer_on_a_dense_layer_is_only_transposed():
    weight = random_weights()["output.weight"]

    np.testing.assert_array_equal(LAYOUTS["output.weight"].to_tensorflow(weight), weight.T)


def test_flattening_what_is_flat_already_moves_nothing():
    layers = [Flatten(name="flatten"), Dense(name="output", units=2)]

    assert layout_of("output.weight", layers, (3,)).axes == (1, 0)


def test_examples_without_channels_stay_as_they_are():
    examples = np.zeros((4, 3), np.uint8)

    assert image_to_tensorflow(examples) is examples
