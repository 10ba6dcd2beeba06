"""Widths, strides, rates and epsilons of published networks, as their papers and torchvision's pages have them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flspec.core.randomness import Stream
from flspec.layers import (
    BatchNorm,
    Conv,
    Dropout,
    GroupNorm,
    Tensor,
    initial_tensors,
    one_network,
    parameters_of,
    trace,
)
from flspec.models.cifar_cnn import CifarCnn
from flspec.models.cnn import Cnn
from flspec.models.efficientnet_b2 import EfficientNetB2
from flspec.models.lenet import LeNet
from flspec.models.mlp import Mlp
from flspec.models.mobilenet_v2 import MobileNetV2
from flspec.models.resnet18 import ResNet18
from tests.by_hand import draws

PICTURE = (3, 224, 224)
NETWORKS = {
    "resnet18": lambda: ResNet18(norm="batch", batch_norm="averaged"),
    "mobilenet_v2": lambda: MobileNetV2(train="all", batch_norm="averaged"),
    "efficientnet_b2": lambda: EfficientNetB2(batch_norm="averaged"),
}


def shapes(model, outputs=1000, picture=PICTURE):
    return {
        name: tensor.shape
        for name, tensor in parameters_of(one_network(model.layers(picture, outputs), picture)).items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_norm_has_torchs_epsilon_and_momentum_in_each_layer(name):
    """torch.nn.BatchNorm2d: eps=1e-05, momentum=0.1; torchvision keeps them in all three (B5 to B7 differ)."""
    norms = [layer for layer in NETWORKS[name]().layers(PICTURE, 10) if isinstance(layer, BatchNorm)]
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
    assert len(norms) == {"resnet18": 20, "mobilenet_v2": 52, "efficientnet_b2": 69}[name]


def test_group_norm_has_wu_and_hes_epsilon_and_groups():
    """Wu and He, ECCV 2018, Section 3.1: epsilon 1e-5, G = 32 by default."""
    norms = [layer for layer in ResNet18().layers(PICTURE, 10) if isinstance(layer, GroupNorm)]
    assert {(norm.epsilon, norm.groups) for norm in norms} == {(1e-5, 32)}
    assert len(norms) == 20


def test_a_residual_network_of_18_layers_is_table_1_of_he_et_al():
    found = shapes(ResNet18())
    assert found["conv1.weight"] == (64, 3, 7, 7)
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            for conv in (1, 2):
                before = channels if (block, conv) != (0, 1) or stage == 1 else channels // 2
                assert found[f"layer{stage}.{block}.conv{conv}.weight"] == (channels, before, 3, 3)
    assert found["fc.weight"] == (1000, 512)
    sides = trace(one_network(ResNet18().layers(PICTURE, 10), PICTURE))
    assert [sides[f"layer{stage}.1.relu2"][1] for stage in (1, 2, 3, 4)] == [56, 28, 14, 7]
    assert (sides["conv1"][1], sides["maxpool"][1]) == (112, 56)


def test_mobilenets_blocks_are_table_2_of_sandler_et_al():
    """Rows t, c, n, s of the table, with 32 channels before and 1280 after; sides of 224 pixels after each row."""
    found, sides = shapes(MobileNetV2()), trace(one_network(MobileNetV2().layers(PICTURE, 10), PICTURE))
    rows = [
        (1, 16, 1, 112),
        (6, 24, 2, 56),
        (6, 32, 3, 28),
        (6, 64, 4, 14),
        (6, 96, 3, 14),
        (6, 160, 3, 7),
        (6, 320, 1, 7),
    ]
    assert found["features.0.0.weight"] == (32, 3, 3, 3)
    before, number = 32, 1
    for expansion, channels, blocks, side in rows:
        for _ in range(blocks):
            projection = f"features.{number}.conv.{1 if expansion == 1 else 2}"
            assert found[f"{projection}.weight"] == (channels, before * expansion, 1, 1)
            assert sides[projection] == (channels, side, side)
            before, number = channels, number + 1
    assert found["features.18.0.weight"] == (1280, 320, 1, 1)
    assert found["classifier.1.weight"] == (1000, 1280)


def test_efficientnets_blocks_are_b0s_made_wider_and_deeper():
    """Tan and Le, ICML 2019, Table 1, with width 1.1 and depth 1.2 (their code's B2); rounded to multiples of eight."""
    found, sides = (
        shapes(EfficientNetB2(batch_norm="averaged")),
        trace(one_network(NETWORKS["efficientnet_b2"]().layers(PICTURE, 10), PICTURE)),
    )
    rows = [  # channels, blocks, kernel, side of 224 pixels
        (16, 2, 3, 112),
        (24, 3, 3, 56),
        (48, 3, 5, 28),
        (88, 4, 3, 14),
        (120, 4, 5, 14),
        (208, 5, 5, 7),
        (352, 2, 3, 7),
    ]
    assert found["features.0.0.weight"] == (32, 3, 3, 3)
    before = 32
    for stage, (channels, blocks, kernel, side) in enumerate(rows, start=1):
        for block in range(blocks):
            name, expands = f"features.{stage}.{block}.block", stage > 1
            hidden = before * 6 if expands else before
            assert found[f"{name}.{int(expands)}.0.weight"] == (hidden, 1, kernel, kernel)
            assert found[f"{name}.{1 + expands}.fc1.weight"] == (before // 4, hidden, 1, 1)
            assert found[f"{name}.{2 + expands}.0.weight"] == (channels, hidden, 1, 1)
            assert sides[f"{name}.{2 + expands}.0"][1] == side
            before = channels
    assert f"features.{len(rows)}.2.block.0.0.weight" not in found
    assert found["features.8.0.weight"] == (1408, 352, 1, 1)
    assert found["classifier.1.weight"] == (1000, 1408)


def test_efficientnet_skips_blocks_in_proportion_up_to_a_fifth_and_drops_three_tenths():
    """torchvision's efficientnet_b2: dropout 0.3, stochastic_depth_prob 0.2 times the number of the block of 23."""
    drops = {
        layer.name: layer for layer in NETWORKS["efficientnet_b2"]().layers(PICTURE, 10) if isinstance(layer, Dropout)
    }
    assert drops["classifier.0"].rate == 0.3
    numbers = {"1.1": 1, "2.1": 3, "2.2": 4, "3.1": 6, "4.3": 11, "5.3": 15, "6.4": 20, "7.1": 22}
    for block, number in numbers.items():
        layer = drops[f"features.{block}.stochastic_depth"]
        assert layer.rate == pytest.approx(0.2 * number / 23, rel=1e-12)
        assert layer.drops == "example"


def test_mobilenets_head_drops_two_fifths():
    """The CelebA challenge's MobileNet: Dropout(0.4) and a dense layer on the features."""
    drops = [layer for layer in MobileNetV2().layers(PICTURE, 1) if isinstance(layer, Dropout)]
    assert [(layer.name, layer.rate) for layer in drops] == [("classifier.0", 0.4)]


@pytest.mark.parametrize(
    ("model", "picture", "expected"),
    [
        # LeCun et al. 1998, Fig. 2, with all connections: 6 and 16 maps of 5 by 5, 120 and 84 units
        (
            LeNet(padding=2),
            (1, 28, 28),
            {"conv_1": (6, 1, 5, 5), "conv_2": (16, 6, 5, 5), "dense_1": (120, 400), "dense_2": (84, 120)},
        ),
        # McMahan et al. 2017, Section 3: "two 5x5 convolution layers (the first with 32 channels, the second with 64,
        # each followed with 2x2 max pooling), a fully connected layer with 512 units"
        (Cnn(), (1, 28, 28), {"conv_1": (32, 1, 5, 5), "conv_2": (64, 32, 5, 5), "dense_1": (512, 3136)}),
        # the same: "A simple multilayer-perceptron with 2-hidden layers with 200 units each"
        (Mlp(hidden=(200, 200)), (1, 28, 28), {"hidden_1": (200, 784), "hidden_2": (200, 200)}),
        # pfl-research's simple_cnn: 3 by 3, 32 and 64 channels, pooled by 2, 128 units
        (CifarCnn(), (3, 32, 32), {"conv_1": (32, 3, 3, 3), "conv_2": (64, 32, 3, 3), "dense": (128, 12544)}),
    ],
    ids=["lenet", "cnn", "mlp", "cifar_cnn"],
)
def test_a_small_network_has_the_published_widths(model, picture, expected):
    found = shapes(model, 10, picture)
    assert {name: found[f"{name}.weight"] for name in expected} == expected


def test_pfls_network_drops_a_quarter_and_a_half():
    drops = [layer for layer in CifarCnn().layers((3, 32, 32), 10) if isinstance(layer, Dropout)]
    assert [(layer.name, layer.rate) for layer in drops] == [("dropout_1", 0.25), ("dropout_2", 0.5)]
    assert Mlp().hidden == (200,)


def test_weights_start_by_the_papers_distributions():
    """He et al., ICCV 2015, Eq. (10); Glorot and Bengio, AISTATS 2010, Eq. (16): of the planned uniform draws."""
    from scipy.stats import norm

    kernel, dense = Tensor((4, 3, 5, 5), "he_normal"), Tensor((7, 9), "glorot_uniform")
    got = initial_tensors({"conv.weight": kernel, "out.weight": dense}, Stream(3, "weights"))
    uniform = np.array(draws.uniforms(300, 3, "weights", "conv", "weight")).reshape(4, 3, 5, 5)
    np.testing.assert_allclose(got["conv.weight"], norm.ppf(uniform) * math.sqrt(2 / 75), rtol=1e-6)
    flat = np.array(draws.uniforms(63, 3, "weights", "out", "weight")).reshape(7, 9)
    np.testing.assert_allclose(got["out.weight"], (2 * flat - 1) * math.sqrt(6 / 16), rtol=1e-6, atol=1e-8)


def test_a_kernels_fan_out_counts_its_positions():
    got = initial_tensors({"conv.weight": Tensor((4, 3, 5, 5), "glorot_uniform")}, Stream(0, "w"))["conv.weight"]
    assert np.abs(got).max() == pytest.approx(math.sqrt(6 / (7 * 25)), rel=0.02)
    assert np.abs(got).max() <= math.sqrt(6 / (7 * 25))


@pytest.mark.parametrize("kind", ["zeros", "ones"])
def test_biases_start_at_zero_and_scales_at_one(kind):
    norm, conv = BatchNorm(name="n", statistics="averaged"), Conv(name="c", channels=2, kernel_size=1)
    starts = {part: tensor.initializer for part, tensor in norm.parameters((2, 4, 4)).items()}
    assert starts == {"weight": "ones", "bias": "zeros", "running_mean": "zeros", "running_var": "ones"}
    assert conv.parameters((2, 4, 4))["bias"].initializer == "zeros"
    assert (initial_tensors({"a.b": Tensor((2,), kind)}, Stream(0))["a.b"] == {"zeros": 0.0, "ones": 1.0}[kind]).all()
