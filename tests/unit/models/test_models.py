"""Models: the published parameter counts, and the shapes they refuse."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from flspec.layers import Activation, one_network, trace
from flspec.models.cnn import Cnn
from flspec.models.mlp import Mlp
from flspec.models.softmax_regression import SoftmaxRegression

MNIST = (1, 28, 28)


def count_parameters(model, input_shape, num_classes=10):
    layers = model.layers(input_shape, num_classes)
    shapes = trace(one_network(layers, input_shape))
    return sum(
        math.prod(parameter.shape)
        for layer in layers
        for parameter in layer.parameters(shapes[layer.inputs[0]]).values()
    )


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (Cnn(), 1_663_370),  # McMahan et al. 2017, section 3
        (Mlp(hidden=(200, 200)), 199_210),  # the same paper's 2NN
        (Mlp(hidden=(512,)), 407_050),
        (SoftmaxRegression(), 7_850),
    ],
    ids=["cnn", "2nn", "mlp", "softmax_regression"],
)
def test_a_model_has_the_published_number_of_parameters_on_mnist(model, count):
    assert count_parameters(model, MNIST) == count


def test_a_smaller_kernel_is_another_number_of_parameters():
    assert count_parameters(Cnn(kernel_size=3), MNIST) == 1_663_370 - 32 * 16 - 64 * 32 * 16


@pytest.mark.parametrize("model", [Cnn(), Cnn(pool="average"), Mlp(), SoftmaxRegression()], ids=repr)
def test_a_model_ends_in_one_logit_a_class(model):
    layers = model.layers(MNIST, 7)
    assert trace(one_network(layers, MNIST))[layers[-1].name] == (7,)
    assert layers[-1].name == "output"


def test_every_layer_of_a_model_has_a_name_of_its_own():
    names = [layer.name for layer in Cnn(channels=(4, 4, 4), dense=(5, 5)).layers((1, 32, 32), 10)]
    assert len(set(names)) == len(names)


def test_a_cnn_keeps_the_size_until_it_pools():
    shapes = trace(one_network(Cnn(channels=(4, 8)).layers(MNIST, 10), MNIST))
    assert (shapes["conv_1"], shapes["pool_1"]) == ((4, 28, 28), (4, 14, 14))
    assert (shapes["conv_2"], shapes["pool_2"]) == ((8, 14, 14), (8, 7, 7))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (Cnn(), (64,), "conv_1"),
        (Cnn(channels=(2, 2, 2, 2)), (1, 8, 8), "pool_4"),
    ],
    ids=["flat examples", "too deep"],
)
def test_a_cnn_refuses_examples_that_do_not_fit_it(model, shape, message):
    with pytest.raises(ValueError, match=message):
        trace(one_network(model.layers(shape, 10), shape))


def test_the_activation_is_the_one_asked_for():
    functions = {layer.function for layer in Mlp(activation="tanh").layers((4,), 2) if isinstance(layer, Activation)}
    assert functions == {"tanh"}


@pytest.mark.parametrize("wrong", [{"hidden": ()}, {"hidden": (0,)}, {"activation": "sine"}, {"width": 3}], ids=str)
def test_an_mlp_refuses_impossible_parameters(wrong):
    with pytest.raises(ValidationError):
        Mlp(**wrong)
