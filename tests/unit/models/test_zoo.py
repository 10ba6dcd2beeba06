"""The published networks: their parameters, their names, and their passes, held to numpy and to torchvision."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from flspec.compiler.initial_weights import start_tensors
from flspec.core.randomness import Stream
from flspec.errors import InputError
from flspec.layers import Conv, count_parameters, initial_tensors, one_network, parameters_of, trace
from flspec.models.cifar_cnn import CifarCnn
from flspec.models.efficientnet_b2 import EfficientNetB2
from flspec.models.lenet import LeNet
from flspec.models.mobilenet_v2 import MobileNetV2
from flspec.models.resnet18 import ResNet18
from tests import numpy_layers
from tests.layer_cases import random_inputs, random_masks, random_tensors
from tests.published import torchvision_models
from tests.torch_passes import largest_deviation, torch_gradients, torch_pass

IMAGENET, CIFAR, MNIST = (3, 224, 224), (3, 32, 32), (1, 28, 28)
PICTURE = (3, 33, 35)  # small, with odd and different sides, and still 2 by 2 where the last batch norm sees it

BATCH_RESNET = ResNet18(norm="batch", batch_norm="averaged")
WHOLE_MOBILENET = MobileNetV2(train="all", batch_norm="averaged")
EFFICIENTNET = EfficientNetB2(batch_norm="averaged")
ZOO = {
    "resnet18, group norm": ResNet18(),
    "resnet18, batch norm": BATCH_RESNET,
    "mobilenet_v2": WHOLE_MOBILENET,
    "mobilenet_v2, head": MobileNetV2(),
    "efficientnet_b2": EFFICIENTNET,
    "efficientnet_b2, frozen, hidden layers": EfficientNetB2(batch_norm="frozen", head=(7, 5)),
    "cifar_cnn": CifarCnn(),
    "lenet": LeNet(activation="tanh", pool="average"),
}
every_model = pytest.mark.parametrize("name", ZOO)


def layers_of(model, num_outputs=3, shape=PICTURE):
    return model.layers(shape, num_outputs)


def count(parameters, home):
    return sum(math.prod(tensor.shape) for tensor in parameters.values() if tensor.placement == home)


# ---------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("model", "shape", "outputs", "published"),
    [
        (ResNet18(), IMAGENET, 17, 11_185_233),
        (ResNet18(), IMAGENET, 1_628, 12_011_676),
        (ResNet18(norm="batch", batch_norm="frozen"), IMAGENET, 17, 11_185_233),
        (BATCH_RESNET, IMAGENET, 1_000, 11_689_512),
        (WHOLE_MOBILENET, IMAGENET, 1_000, 3_504_872),
        (EFFICIENTNET, IMAGENET, 1_000, 9_109_994),
        (EfficientNetB2(batch_norm="local", head=(500,)), (3, 256, 256), 1, 8_405_995),
        (CifarCnn(), CIFAR, 10, 1_626_442),
        (LeNet(padding=2), MNIST, 10, 61_706),
        (LeNet(), CIFAR, 10, 62_006),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else str(value),
)
def test_a_model_has_the_published_number_of_parameters(model, shape, outputs, published):
    assert count_parameters(one_network(model.layers(shape, outputs), shape)) == published


def test_a_frozen_mobilenet_sends_its_head_alone():
    parameters = parameters_of(one_network(MobileNetV2().layers(IMAGENET, 1), IMAGENET))
    sent = {name: tensor.shape for name, tensor in parameters.items() if tensor.placement != "plan"}
    assert sent == {"classifier.1.weight": (1, 1280), "classifier.1.bias": (1,)}
    assert count(parameters, "server") == 1_281
    constants = {name: tensor for name, tensor in parameters.items() if tensor.placement == "plan"}
    assert not any(tensor.is_learned for tensor in constants.values())
    weights = sum(math.prod(tensor.shape) for name, tensor in constants.items() if "running" not in name)
    assert weights == 2_223_872


@pytest.mark.parametrize(
    ("policy", "norm_home", "statistics_home"),
    [("frozen", "server", "plan"), ("averaged", "server", "server"), ("local", "client", "client")],
)
@pytest.mark.parametrize("kind", ["resnet18", "mobilenet_v2", "efficientnet_b2"])
def test_where_batch_norm_lives_is_as_its_policy_says(kind, policy, norm_home, statistics_home):
    model = {
        "resnet18": lambda: ResNet18(norm="batch", batch_norm=policy),
        "mobilenet_v2": lambda: MobileNetV2(train="all", batch_norm=policy),
        "efficientnet_b2": lambda: EfficientNetB2(batch_norm=policy),
    }[kind]()
    layers = layers_of(model)
    norms = {layer.name for layer in layers if layer.kind == "batch_norm"}
    for name, tensor in parameters_of(one_network(layers, PICTURE)).items():
        layer, _, part = name.rpartition(".")
        is_statistic = part.startswith("running")
        expected = (statistics_home if is_statistic else norm_home) if layer in norms else "server"
        assert (tensor.placement, tensor.is_learned) == (expected, not is_statistic), name


@pytest.mark.parametrize(("asked", "largest"), [(32, 32), (1, 1), (256, 256)])
def test_group_norm_has_no_more_groups_than_channels(asked, largest):
    norms = [layer for layer in layers_of(ResNet18(groups=asked)) if layer.kind == "group_norm"]
    channels = trace(one_network(layers_of(ResNet18()), PICTURE))
    assert [norm.groups for norm in norms] == [min(asked, channels[norm.name][0]) for norm in norms]
    assert max(norm.groups for norm in norms) == largest


def test_convolutions_start_he_normal_and_the_head_glorot_uniform():
    for model in (ResNet18(), WHOLE_MOBILENET, EFFICIENTNET):
        for name, tensor in parameters_of(one_network(layers_of(model), PICTURE)).items():
            if len(tensor.shape) > 1:
                assert tensor.initializer == ("glorot_uniform" if name.startswith(model.head_layers) else "he_normal")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResNet18(norm="batch"), "norm: batch trains batch norm, whose statistics need a rule: add batch_norm"),
        (lambda: ResNet18(batch_norm="local"), "batch_norm: local contradicts norm: group; set norm: batch"),
        (lambda: ResNet18(norm="batch", batch_norm="local", groups=8), "groups: 8 contradicts norm: batch"),
        (lambda: MobileNetV2(train="all"), "train: all trains batch norm, whose statistics need a rule"),
        (lambda: MobileNetV2(batch_norm="averaged"), "batch_norm: averaged contradicts train: head"),
        (EfficientNetB2, "batch_norm"),
    ],
)
def test_a_policy_of_batch_norm_is_said_and_contradicts_nothing(build, message):
    with pytest.raises(ValidationError, match=message):
        build()


@pytest.mark.parametrize("shape", [CIFAR, (1, 28, 28), (3, 33, 47), (4, 224, 300)], ids=str)
@every_model
def test_every_model_takes_small_odd_and_large_images(name, shape):
    layers = ZOO[name].layers(shape, 7)
    assert trace(one_network(layers, shape))[layers[-1].name] == (7,)


@pytest.mark.parametrize(
    ("model", "layer"),
    [({"kind": "cifar_cnn"}, "pool"), ({"kind": "lenet"}, "pool_1"), ({"kind": "resnet18", "groups": 5}, "bn1")],
    ids=str,
)
def test_what_does_not_fit_is_one_error_of_the_model(make_plan, tmp_path, model, layer):
    images = np.zeros((20, 1, 5, 5), np.float32)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(InputError, match=rf"^model: does not fit examples of shape \[.*'{layer}'[^\n]*$"):
        make_plan(tmp_path, model=model, dataset={"kind": "npz", "file": "d.npz"})


def test_a_rate_of_zero_leaves_dropout_out():
    with_none = [
        MobileNetV2(dropout=0.0),
        CifarCnn(dropout=(0.0, 0.0)),
        EfficientNetB2(batch_norm="local", dropout=0.0, stochastic_depth=0.0),
    ]
    for model in with_none:
        assert not any(layer.kind == "dropout" for layer in layers_of(model)), model
    rates = [layer.rate for layer in layers_of(CifarCnn(dropout=(0.1, 0.6))) if layer.kind == "dropout"]
    assert rates == [0.1, 0.6]


# ------------------------------------------------------------------------------------------------------- passes


@cache
def numpy_pass(name, training):
    model = ZOO[name]
    layers = layers_of(model)
    tensors, inputs = random_tensors(layers, PICTURE), random_inputs(PICTURE, scale=1.0)
    masks = random_masks(layers, PICTURE) if training else None
    return layers, tensors, inputs, masks, numpy_layers.forward(layers, tensors, inputs, masks)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_model
def test_torch_gives_what_numpy_gives_of_a_whole_model(name, training):
    layers, tensors, inputs, masks, expected = numpy_pass(name, training)
    outputs, after = torch_pass(layers, tensors, inputs, masks, torch.float64)
    assert largest_deviation(outputs, expected.outputs) < 1e-12
    for statistic in (tensor for tensor in after if "running" in tensor):
        value = expected.statistics.get(statistic, tensors[statistic])
        assert largest_deviation(after[statistic], value) < 1e-12, statistic


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_model
def test_in_float32_a_model_is_off_by_less_than_a_rounding_step_a_layer(name, training):
    layers, tensors, inputs, masks, expected = numpy_pass(name, training)
    outputs, _ = torch_pass(layers, tensors, inputs, masks, torch.float32)
    assert 0 < largest_deviation(outputs, expected.outputs) < max(8, len(layers)) * 2**-23


@every_model
def test_torchs_gradients_of_a_whole_model_are_the_derivatives_of_numpys_pass(name):
    """All tensors and the input are moved together, by so little that no relu is likely to switch."""
    layers, tensors, inputs, masks, _ = numpy_pass(name, training=True)
    found = torch_gradients(layers, tensors, inputs, masks)
    everything = found.directions()
    assert found.error_along(everything, step=1e-9) < 1e-6
    first = next(iter(tensors))
    assert found.spoiled(first, 0.001).error_along(everything, step=1e-9) > 1e-6


# -------------------------------------------------------------------------------------------------- torchvision


def published(kind):
    """flspec's model as torchvision has it, but without what either would draw; and torchvision's with its weights."""
    models = torchvision_models()
    ours, theirs = {
        "resnet18": lambda: (BATCH_RESNET, models.resnet18()),
        "mobilenet_v2": lambda: (WHOLE_MOBILENET.model_copy(update={"dropout": 0.0}), models.mobilenet_v2(dropout=0.0)),
        "efficientnet_b2": lambda: (
            EfficientNetB2(batch_norm="averaged", dropout=0.0, stochastic_depth=0.0),
            models.efficientnet_b2(dropout=0.0, stochastic_depth_prob=0.0),
        ),
    }[kind]()
    layers = ours.layers(PICTURE, 1000)
    tensors = random_tensors(layers, PICTURE)
    held = theirs.state_dict()
    held.update({name: torch.from_numpy(value) for name, value in tensors.items()})
    theirs.load_state_dict(held)
    return layers, tensors, theirs


every_published = pytest.mark.parametrize("kind", ["resnet18", "mobilenet_v2", "efficientnet_b2"])


@every_published
def test_tensors_have_torchvisions_names_and_shapes(kind):
    _, tensors, theirs = published(kind)
    counted = "num_batches_tracked"
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items() if not name.endswith(counted)}
    assert {name: value.shape for name, value in tensors.items()} == shapes


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_published
def test_a_pass_is_torchvisions_own(kind, training):
    """Outputs and, after a pass in training, running statistics: so epsilon and momentum are torchvision's too."""
    layers, tensors, theirs = published(kind)
    inputs = random_inputs(PICTURE, scale=1.0)
    outputs, after = torch_pass(layers, tensors, inputs, {} if training else None, torch.float64)
    theirs.double().train(training)
    with torch.no_grad():
        expected = theirs(torch.tensor(inputs, dtype=torch.float64)).numpy()
    assert largest_deviation(outputs, expected) < 1e-12
    held = {name: value.numpy() for name, value in theirs.state_dict().items()}
    assert max(largest_deviation(value, held[name]) for name, value in after.items()) < 1e-12


def test_a_wrong_stride_in_one_block_is_seen():
    layers, tensors, theirs = published("mobilenet_v2")
    inputs = random_inputs(PICTURE, scale=1.0)
    name = "features.14.conv.1.0"
    moved = [
        layer.model_copy(update={"padding": 2}) if isinstance(layer, Conv) and layer.name == name else layer
        for layer in layers
    ]
    outputs, _ = torch_pass(moved, tensors, inputs, None, torch.float64)
    with torch.no_grad():
        expected = theirs.double().eval()(torch.tensor(inputs, dtype=torch.float64)).numpy()
    assert largest_deviation(outputs, expected) > 1e-3


def test_what_is_dropped_in_training_is_dropped_by_torchvisions_rule():
    models = torchvision_models()
    theirs = models.efficientnet_b2()
    expected = {
        f"{name}.stochastic_depth": block.stochastic_depth.p
        for name, block in theirs.named_modules()
        if getattr(block, "use_res_connect", False) and block.stochastic_depth.p
    }
    layers = layers_of(EFFICIENTNET)
    drops = {layer.name: (layer.rate, layer.drops) for layer in layers if layer.kind == "dropout"}
    assert drops.pop("classifier.0") == (theirs.classifier[0].p, "value")
    assert {name: rate for name, (rate, _) in drops.items()} == pytest.approx(expected)
    assert {what for _, what in drops.values()} == {"example"}
    assert len(drops) == 16


@pytest.mark.parametrize("suffix", ["pth", "pt"])
def test_torchvisions_file_starts_a_model_with_a_head_of_its_own(tmp_path, suffix):
    theirs = torchvision_models().mobilenet_v2()
    torch.save(theirs.state_dict(), tmp_path / f"w.{suffix}")
    model = MobileNetV2(pretrained=f"w.{suffix}")
    layers = layers_of(model)
    parameters = parameters_of(one_network(layers, PICTURE))
    started = start_tensors(model, parameters, tmp_path, Stream(0))
    inputs = random_inputs(PICTURE, scale=1.0)
    with torch.no_grad():
        features = theirs.double().eval().features(torch.tensor(inputs, dtype=torch.float64)).numpy()
    found = numpy_layers.forward(layers, started, inputs).values["features.18.2"]
    assert largest_deviation(found, features) < 1e-12
    drawn = initial_tensors(parameters, Stream(0))
    assert np.array_equal(started["classifier.1.weight"], drawn["classifier.1.weight"])
