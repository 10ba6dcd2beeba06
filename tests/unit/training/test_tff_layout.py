"""The map between the plan's tensor layouts and TensorFlow's."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.layers import BatchNorm, Conv, Dense, Flatten, GroupNorm, chain, one_network, parameters_of
from flspec_tff.layout import all_from_tensorflow, all_to_tensorflow, channels_last, from_tensorflow, to_tensorflow

IMAGE = (4, 6, 5)  # channels, height, width, all different
LAYERS = chain(
    [
        Conv(name="conv", channels=6, kernel_size=3, padding=1),
        Conv(name="depthwise", channels=12, kernel_size=3, groups=6, bias=False),
        GroupNorm(name="group_norm", groups=3),
        BatchNorm(name="batch_norm", statistics="frozen"),
        Flatten(name="flatten"),
        Dense(name="output", units=2),
    ]
)
SHAPES = {name: tensor.shape for name, tensor in parameters_of(one_network(LAYERS, IMAGE)).items()}


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_tensorflow_shapes_are_those_of_channels_last_and_inputs_first():
    shapes = {name: to_tensorflow(tensor).shape for name, tensor in random_tensors().items()}

    assert shapes == {
        "conv.weight": (3, 3, 4, 6),  # height, width, in, out
        "conv.bias": (6,),
        "depthwise.weight": (3, 3, 1, 12),
        "group_norm.weight": (12,),
        "group_norm.bias": (12,),
        "batch_norm.weight": (12,),
        "batch_norm.bias": (12,),
        "batch_norm.running_mean": (12,),
        "batch_norm.running_var": (12,),
        "output.weight": (12 * 4 * 3, 2),
        "output.bias": (2,),
    }


def test_going_to_tensorflow_and_back_changes_no_bit():
    tensors = random_tensors()

    back = all_from_tensorflow(list(tensors), all_to_tensorflow(tensors))

    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name].view(np.int32), tensor.view(np.int32))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4, 5)])
def test_coming_from_tensorflow_and_going_back_changes_no_bit(shape):
    tensor = np.random.default_rng(1).standard_normal(shape)

    np.testing.assert_array_equal(to_tensorflow(from_tensorflow(tensor)), tensor)


def test_a_tensor_of_another_rank_has_no_layout():
    with pytest.raises(KeyError):
        to_tensorflow(np.zeros((2, 2, 2)))


def test_a_dense_weight_is_transposed():
    there = to_tensorflow(np.array([[1, 2, 3], [4, 5, 6]]))

    np.testing.assert_array_equal(there, [[1, 4], [2, 5], [3, 6]])


def test_a_kernel_takes_its_outputs_last():
    there = to_tensorflow(np.array([[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]))

    np.testing.assert_array_equal(there, [[[[1, 5]], [[2, 6]]], [[[3, 7]], [[4, 8]]]])


def test_images_take_their_channels_last():
    images = np.array([[[[1, 2]], [[3, 4]]]])  # one, of two channels, one row and two columns

    np.testing.assert_array_equal(channels_last(images), [[[[1, 3], [2, 4]]]])


def test_examples_without_channels_stay_as_they_are():
    examples = np.zeros((4, 3), np.uint8)

    assert channels_last(examples) is examples
