"""Feature spaces: layers from a picture to its features, planned with their tensors, computed by the scorer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from flspec.compiler.compile import compile
from flspec.compiler.pictures import planned_pictures
from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.errors import InputError
from flspec.features import FeatureSpace
from flspec.layers import Conv, initial_tensors, one_network, parameters_of
from flspec.models.lenet import LeNet
from flspec.protocol.plan import Plan
from flspec.runs.pictured import _prepared, feature_space_of
from flspec.spec.evaluation import Evaluation
from flspec.spec.loading import parse_spec
from flspec_torch.scoring import TorchScorer

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16)).astype(np.uint8)
SPEC = """
flspec: 1
name: tiny
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 3}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture(scope="module")
def classifier() -> Plan:
    return compile(parse_spec(SPEC))


def some_data(shape=(3, 16, 16), num=20) -> Data:
    split = Split(np.zeros((num, *shape), np.float32), np.zeros(num, np.int64))
    return Data(train=split, test=split, num_classes=1)


def planned(space: dict[str, Any] | None, root: Path = Path(), data: Data | None = None, **evaluation: Any):
    features = parse_component(FeatureSpace, space) if space else None
    return planned_pictures(Evaluation(features=features, **evaluation), data or some_data(), root)


def features_of(classifier: Plan, space: dict[str, Any], pictures=PICTURES, root: Path = Path()):
    settings, tensors = planned(space, root, some_data(pictures.shape[1:]))
    evaluation = replace(classifier.settings.evaluation, pictures=settings)
    arrays = {**classifier.arrays, **{f"features/{name}": value for name, value in tensors.items()}}
    plan = Plan(replace(classifier.settings, evaluation=evaluation), arrays, classifier.spec)
    assert feature_space_of(plan)
    return TorchScorer(plan).features(_prepared(pictures, settings.features))


def test_pixels_are_themselves_or_means_of_squares(classifier):
    scaled = PICTURES / 127.5 - 1.0
    assert np.allclose(features_of(classifier, {"kind": "pixels"}), scaled.reshape(5, -1), atol=1e-6)
    means = scaled.reshape(5, 3, 4, 4, 4, 4).mean(axis=(3, 5)).reshape(5, -1)
    assert np.allclose(features_of(classifier, {"kind": "pixels", "side": 4}), means, atol=1e-6)


def test_examples_that_are_no_pictures_are_compared_as_they_are(classifier):
    vectors = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)
    assert np.array_equal(features_of(classifier, {"kind": "pixels"}, vectors), vectors)
    settings, _ = planned(None, data=some_data((7,)))
    assert (settings.features.title, settings.rows) == ("pixels", 0)


def test_random_features_are_64_and_the_same_in_every_experiment(classifier):
    found = features_of(classifier, {"kind": "random_conv"})
    assert found.shape == (5, 64)
    assert np.array_equal(found, features_of(classifier, {"kind": "random_conv"}))
    assert planned(None)[0].features.title == "random_conv"
    assert planned(None, data=some_data((3, 4, 4)))[0].features.title == "pixels"  # too small to be halved three times


def lenet_file(folder: Path, shape=(3, 16, 16)) -> dict[str, np.ndarray]:
    whole = parameters_of(one_network(LeNet().layers(shape, 10), shape))
    tensors = initial_tensors(whole, Stream(5, "weights"))
    save_file(tensors, folder / "lenet.safetensors")
    return tensors


def test_a_network_of_a_file_up_to_a_layer_gives_what_the_whole_network_has_there(classifier, tmp_path):
    tensors = lenet_file(tmp_path)
    model = {"kind": "lenet", "pretrained": str(tmp_path / "lenet.safetensors")}
    conv = next(layer for layer in LeNet().layers((3, 16, 16), 10) if isinstance(layer, Conv))
    found = features_of(classifier, {"kind": "network", "model": model, "layer": conv.name})
    w, b = tensors[f"{conv.name}.weight"].astype(np.float64), tensors[f"{conv.name}.bias"]
    k, pad = conv.kernel_size, conv.padding
    x = np.pad(PICTURES / 255.0, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    side = x.shape[2] - k + 1
    out = sum(
        np.einsum("bchw,oc->bohw", x[:, :, i : i + side, j : j + side], w[:, :, i, j])
        for i in range(k)
        for j in range(k)
    )
    assert np.allclose(found, (out + b[None, :, None, None]).reshape(5, -1), atol=1e-5)


def test_the_content_of_a_file_is_what_a_space_is_told_by_and_not_its_place(tmp_path):
    lenet_file(tmp_path)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "lenet.safetensors").read_bytes())

    def plan_of(name):
        model = {"kind": "lenet", "pretrained": str(tmp_path / name)}
        return planned({"kind": "network", "model": model, "layer": "flatten"})

    (ours, tensors), (theirs, same) = plan_of("lenet.safetensors"), plan_of("b.safetensors")
    assert ours == theirs
    assert all(np.array_equal(tensors[name], same[name]) for name in tensors)
    assert not any(name.startswith("output") for name in tensors)  # what comes after the layer is left out


def test_pictures_are_scaled_to_what_a_network_takes(tmp_path, classifier):
    lenet_file(tmp_path, (3, 32, 32))
    model = {"kind": "lenet", "pretrained": str(tmp_path / "lenet.safetensors")}
    space = {"kind": "network", "model": model, "layer": "flatten", "size": 32, "normalise": "imagenet"}
    settings, _ = planned(space)
    assert settings.features.input_shape == (3, 32, 32)
    assert features_of(classifier, space).shape[0] == 5


@pytest.mark.parametrize(
    ("space", "shape", "message"),
    [
        ({"kind": "pixels", "side": 5}, (3, 16, 16), r"features.side: 5 squares a side do not fill 16 by 16 pixels"),
        ({"kind": "pixels", "side": 5}, (7,), r"features.side: 5 is for pictures, these examples have shape \[7\]"),
        ({"kind": "random_conv"}, (7,), r"evaluation.features: .*its input has shape \[7\]"),
        ({"kind": "random_conv"}, (3, 4, 4), r"evaluation.features: .*leaves nothing"),
        (
            {"kind": "pixels"},
            (3, 64, 64),
            r"features: pixels gives 12,288 features of a picture; at most 8,192",
        ),
    ],
)
def test_a_space_that_does_not_suit_the_pictures_is_refused_by_field(space, shape, message):
    with pytest.raises(InputError, match=message):
        planned(space, data=some_data(shape))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"layer": "flaten"}, r"features.layer: 'flaten' is none of \d+ layers; did you mean 'flatten'\? "),
        ({"layer": "output"}, r"features.layer: output belongs to the head, which fits one task; name one before it"),
        ({"layer": "flatten", "size": 24}, r"evaluation.features.model.pretrained: .*dense_1.weight is"),
        (
            {"layer": "flatten", "model": {"kind": "lenet", "pretrained": "none.safetensors"}},
            r"model.pretrained: .*none",
        ),
    ],
)
def test_a_network_that_does_not_suit_its_file_is_refused_by_field(tmp_path, more, message):
    lenet_file(tmp_path)
    model = {"kind": "lenet", "pretrained": str(tmp_path / "lenet.safetensors")}
    with pytest.raises(InputError, match=message):
        planned({"kind": "network", "model": model, "layer": "flatten", **more}, tmp_path)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("{kind: network, model: {kind: lenet}, layer: flatten}", "model has no weights; add model.pretrained"),
        (
            "{kind: network, model: {kind: lenet, pretrained: a.pt, keep_head: true}, layer: flatten}",
            "the head is not used; remove keep_head",
        ),
        ("{kind: randomconv}", "did you mean 'random_conv'"),
        ("{kind: random_conv, side: 3}", "side"),
    ],
)
def test_what_is_wrong_with_a_space_is_told_when_a_spec_is_read(features, message):
    with pytest.raises(InputError, match=message):
        parse_spec(SPEC + f"evaluation: {{features: {features}}}\n")


def test_more_features_than_memory_should_hold_are_refused():
    with pytest.raises(InputError, match=r"evaluation.features: 768 features of 350,.* Mi that a run holds; lower"):
        planned({"kind": "pixels"}, generated=100_000, data=replace_num(250_000))


def replace_num(num: int) -> Data:
    split = Split(
        np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (num, 3, 16, 16), (0,) * 4), np.zeros(num, np.int64)
    )
    return Data(train=split, test=some_data().test, num_classes=1)


def test_a_grid_is_bounded_and_only_of_pictures():
    with pytest.raises(InputError, match=r"evaluation.images: 64 rows of 64 pictures are 67,108,864 pixels, more than"):
        planned({"kind": "random_conv"}, data=some_data((3, 128, 128), 2), images={"rows": 64, "columns": 64})
    with pytest.raises(InputError, match=r"evaluation.images: examples of shape \[7\] are no pictures; remove it"):
        planned(None, data=some_data((7,)), images={"rows": 2, "columns": 2})
