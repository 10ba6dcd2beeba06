"""The losses, held to loops in float64 and to what else goes by their names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from flspec.compiler.compile import compile
from flspec.core.components import family_members
from flspec.errors import SpecError
from flspec.losses import Loss, parse_loss
from flspec.metrics import Scores
from flspec_torch.losses import build_loss, count_correct, to_targets

RNG = np.random.default_rng(3)
OUTPUTS = {1: RNG.normal(size=(7, 1)) * 3, 4: RNG.normal(size=(7, 4)) * 3}
CLASSES, BITS = np.array([0, 3, 1, 1, 2, 0, 3]), np.array([0, 1, 1, 0, 1, 0, 0])
HUBER = {"kind": "huber", "delta": 0.5}
MULTI_HOT = RNG.integers(0, 2, (7, 4)).astype(np.uint8)


def by_hand(loss, outputs, labels, weights):
    """The docstrings of `flspec.losses`, one example after another."""
    costs = []
    for z, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        hot = label if isinstance(label, list) else [label] if len(z) == 1 else [int(label == j) for j in range(len(z))]
        if loss == "cross_entropy":
            costs.append(weights[label] * (math.log(sum(map(math.exp, z))) - z[label]))
        elif loss == "binary_cross_entropy":
            sigmoids = [1 / (1 + math.exp(-x)) for x in z]
            each = [
                w * t * math.log(s) + (1 - t) * math.log(1 - s) for w, t, s in zip(weights, hot, sigmoids, strict=True)
            ]
            costs.append(-sum(each) / len(z))
        elif loss == HUBER:
            far = [abs(x - t) for x, t in zip(z, hot, strict=True)]
            costs.append(sum(r * r / 2 if r <= 0.5 else 0.5 * (r - 0.25) for r in far) / len(z))
        else:
            costs.append(sum((x - t) ** 2 for x, t in zip(z, hot, strict=True)) / len(z))
    return sum(costs) / len(costs)


CASES = [
    ("cross_entropy", OUTPUTS[4], CLASSES, [1.0, 3.0, 0.25, 2.0]),
    ("binary_cross_entropy", OUTPUTS[4], MULTI_HOT, [1.0, 3.0, 0.25, 2.0]),
    ("binary_cross_entropy", OUTPUTS[1], BITS, [5.0]),
    ("mean_squared_error", OUTPUTS[4], CLASSES, None),
    ("mean_squared_error", OUTPUTS[4], MULTI_HOT, None),
    (HUBER, OUTPUTS[4], CLASSES, None),
    (HUBER, OUTPUTS[4], MULTI_HOT, None),
]


def in_torch(loss, outputs, labels, weights):
    z, rule = torch.tensor(outputs, dtype=torch.float32), parse_loss(loss)
    return float(build_loss(rule, weights or ())(z, to_targets(rule, labels, outputs.shape[1])))


@pytest.mark.parametrize(("loss", "outputs", "labels", "weights"), CASES)
def test_torch_computes_the_definition(loss, outputs, labels, weights):
    ones = [1.0] * outputs.shape[1]
    assert in_torch(loss, outputs, labels, None) == pytest.approx(by_hand(loss, outputs, labels, ones), rel=1e-6)
    if weights:
        weighted = by_hand(loss, outputs, labels, weights)
        assert in_torch(loss, outputs, labels, weights) == pytest.approx(weighted, rel=1e-6)
        assert weighted != pytest.approx(
            by_hand(loss, outputs, labels, weights[::-1] if weights[1:] else ones), rel=1e-3
        )


@pytest.mark.parametrize(("loss", "outputs", "labels", "weights"), CASES)
def test_evaluation_computes_the_definition(loss, outputs, labels, weights):
    costs = parse_loss(loss).value(Scores(outputs, labels, loss))
    assert costs.shape == (7,)
    assert costs.mean() == pytest.approx(by_hand(loss, outputs, labels, [1.0] * outputs.shape[1]), rel=1e-12)


def test_every_loss_is_held_to_its_definition():
    losses: list[Any] = [case[0] for case in CASES]
    assert {vars(parse_loss(loss))["kind"] for loss in losses} == set(family_members(Loss))


def test_weighted_cross_entropy_is_not_torchs_whose_mean_is_over_the_weights():
    loss, outputs, labels, weights = CASES[0]
    assert weights
    theirs = torch.nn.functional.cross_entropy(
        torch.tensor(outputs), torch.tensor(labels), torch.tensor(weights).double()
    )
    assert float(theirs) == pytest.approx(
        by_hand(loss, outputs, labels, weights) * len(labels) / sum(weights[label] for label in labels)
    )
    assert float(theirs) != pytest.approx(in_torch(*CASES[0]), rel=1e-2)


@pytest.mark.parametrize(
    ("loss", "labels", "right"),
    [
        ("cross_entropy", [0, 1], 1.0),
        ("mean_squared_error", [0, 1], 1.0),
        ("binary_cross_entropy", [[1, 0, 0], [1, 1, 0]], 2 / 3 + 1),
        ("mean_squared_error", [[1, 0, 0], [0, 1, 0]], 1 + 1 / 3),
    ],
)
def test_what_is_right_is_counted(loss, labels, right):
    labels = np.array(labels, np.int64 if np.ndim(labels) == 1 else np.uint8)
    outputs, rule = torch.tensor([[0.9, 0.2, -1.0], [0.7, 0.1, -2.0]]), parse_loss(loss)
    assert count_correct(rule, outputs, to_targets(rule, labels, 3), labels.ndim == 2) == pytest.approx(right)


def test_one_output_decides_between_two_classes():
    outputs, rule = torch.tensor([[0.1], [-0.1], [3.0]]), parse_loss("binary_cross_entropy")
    assert count_correct(rule, outputs, to_targets(rule, BITS[:3], 1), False) == 1.0


def test_a_model_has_an_output_a_class_or_label_but_one_of_two_classes():
    assert parse_loss("cross_entropy").num_outputs(2, False) == 2
    assert parse_loss("binary_cross_entropy").num_outputs(2, False) == 1
    assert parse_loss("binary_cross_entropy").num_outputs(17, True) == 17
    assert parse_loss("mean_squared_error").num_outputs(2, False) == 2


TWO = {"kind": "synthetic", "classes": 2, "features": 4, "train_examples": 60, "test_examples": 20}


@pytest.mark.parametrize(
    ("client", "dataset", "told"),
    [
        (
            {"loss": "binary_cross_entropy"},
            {},
            "client.loss: binary_cross_entropy learns.* 3 classes; use cross_entropy",
        ),
        ({"label_weights": [1.0]}, {}, "client.label_weights: has 1 weights, but there should be 3, one a class"),
        (
            {"loss": "binary_cross_entropy", "label_weights": [1.0, 2.0]},
            {"dataset": TWO},
            "client.label_weights: has 2 weights, but there should be 1, one a label",
        ),
        ({"loss": HUBER, "label_weights": [1.0]}, {}, "client.label_weights: huber has no label weights; remove them"),
    ],
)
def test_what_does_not_suit_the_labels_is_told_with_a_way_out(make_spec, client, dataset, told):
    whole = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}, **client}
    with pytest.raises(SpecError, match=told):
        compile(make_spec(client=whole, **dataset))


def test_cross_entropy_does_not_suit_several_labels():
    assert "use binary_cross_entropy" in str(parse_loss("cross_entropy").why_invalid(17, True))
    assert parse_loss("binary_cross_entropy").why_invalid(17, True) is None


def test_targets_keep_classes_and_spread_them_for_the_rest():
    assert parse_loss("cross_entropy").targets(CLASSES, 4).dtype == np.int64
    assert parse_loss("mean_squared_error").targets(CLASSES[:2], 4).tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert parse_loss("binary_cross_entropy").targets(BITS[:2], 1).tolist() == [[0], [1]]
