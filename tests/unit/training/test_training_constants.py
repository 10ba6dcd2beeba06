"""Defaults of optimizers, schedules, losses and transforms that papers and frameworks have published."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from flspec.aggregators import Aggregator
from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import parse_component
from flspec.losses import Loss, ScoredExamples, parse_loss
from flspec.metrics import Scores
from flspec.schedules import Schedule
from flspec.transforms import Transform


def defaults(family, document, *names):
    part = parse_component(family, document)
    return {name: getattr(part, name) for name in names}


@pytest.mark.parametrize(
    ("document", "published"),
    [
        # Kingma and Ba, ICLR 2015, Algorithm 1: "beta_1 = 0.9, beta_2 = 0.999 and epsilon = 10^-8"
        ({"kind": "adam", "learning_rate": 1}, {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}),
        # torch.optim.AdamW: betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01
        (
            {"kind": "adamw", "learning_rate": 1},
            {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
        ),
        # torch.optim.SGD: momentum=0, weight_decay=0, nesterov=False
        ({"kind": "sgd", "learning_rate": 1}, {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_a_client_optimizers_defaults_are_published(document, published):
    assert defaults(ClientOptimizer, document, *published) == published


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_torchs_own_defaults_are_the_same(name):
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    ours: Any = parse_component(ClientOptimizer, {"kind": name.lower(), "learning_rate": 1})
    assert (ours.beta_1, ours.beta_2) == theirs["betas"].default
    assert (ours.epsilon, ours.weight_decay) == (theirs["eps"].default, theirs["weight_decay"].default)


@pytest.mark.parametrize(
    ("document", "published"),
    [
        # Reddi et al., ICLR 2021: beta_1 = 0.9, beta_2 = 0.99 (Section 4), tau = 10^-3 (their default of Table 9)
        (
            {"kind": "fedadam", "learning_rate": 1},
            {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-3, "initial_accumulator": 0.0, "bias_correction": True},
        ),
        # the same, v_-1 = tau^2 (Algorithm 2: "v_-1 >= tau^2"), no bias correction
        (
            {"kind": "fedyogi", "learning_rate": 1},
            {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-3, "initial_accumulator": 1e-6, "bias_correction": False},
        ),
        ({"kind": "fedadagrad", "learning_rate": 1}, {"epsilon": 1e-3, "initial_accumulator": 1e-6}),
        # Hsu, Qi and Brown 2019, Section 4: beta = 0.9
        ({"kind": "fedavgm"}, {"momentum": 0.9, "learning_rate": 1.0}),
        ({"kind": "fedavg"}, {"learning_rate": 1.0, "weighting": "examples"}),  # McMahan et al. 2017, Algorithm 1
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_an_aggregators_defaults_are_published_and_reach_its_server_optimizer(document, published):
    assert defaults(Aggregator, document, *published) == published
    optimizer = parse_component(Aggregator, document).server_optimizer
    for name, value in published.items():
        assert name == "weighting" or getattr(optimizer, name, value) == value


@pytest.mark.parametrize(
    ("document", "published"),
    [
        # torch.optim.lr_scheduler.ReduceLROnPlateau: factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel"
        ({"kind": "plateau"}, {"metric": "loss", "decay": 0.1, "patience": 10, "threshold": 1e-4}),
        ({"kind": "step", "every": 1}, {"decay": 0.1}),  # StepLR: gamma=0.1
        ({"kind": "cosine"}, {"final": 0.0, "warmup": 0}),  # CosineAnnealingLR: eta_min=0
        ({"kind": "warmup", "rounds": 1}, {"start": 0.0, "final": 1.0}),
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_a_schedules_defaults_are_torchs(document, published):
    assert defaults(Schedule, document, *published) == published


@pytest.mark.parametrize(
    ("document", "published"),
    [
        # torchvision's RandomResizedCrop: scale=(0.08, 1.0), ratio=(3/4, 4/3) (Szegedy et al., CVPR 2015, Section 6)
        ({"kind": "random_resized_crop", "size": 8}, {"scale": (0.08, 1.0), "ratio": (0.75, 1.3333333333333333)}),
        ({"kind": "horizontal_flip"}, {"probability": 0.5}),  # torchvision: p=0.5
        ({"kind": "vertical_flip"}, {"probability": 0.5}),
        ({"kind": "random_crop", "size": 8}, {"padding": 0, "per_batch": False}),  # torchvision: padding=None
        ({"kind": "resize", "size": 8}, {"side": "both"}),
    ],
    ids=lambda value: value.get("kind", ""),
)
def test_a_transforms_defaults_are_torchvisions(document, published):
    assert defaults(Transform, document, *published) == published


@pytest.mark.parametrize(
    ("document", "output", "label", "expected"),
    [
        ("huber", 1.5, 1, 0.125),  # Huber 1964 with delta 1 (torch's default): r = 0.5
        ("huber", 4.0, 1, 2.5),  # r = 3: 1 (3 - 1/2)
        ({"kind": "huber", "delta": 2.0}, 4.0, 1, 4.0),  # 2 (3 - 1)
        ("mean_squared_error", 3.0, 1, 4.0),
        ("mean_squared_error", 0.5, 0, 0.25),
        ("binary_cross_entropy", 0.0, 1, 0.6931471805599453),
        ("binary_cross_entropy", 2.0, 0, 2.1269280110429727),
    ],
    ids=str,
)
def test_a_loss_of_one_label_is_a_number_from_a_calculator(document, output, label, expected):
    scores: ScoredExamples = Scores(np.array([[output]]), np.array([[label]], np.uint8), document)
    rule: Loss = parse_loss(document)
    assert rule.value(scores)[0] == pytest.approx(expected, rel=1e-12)


def test_momentum_and_decay_are_coupled_as_in_torch_and_a_warm_up_counts_done_rounds():
    warmup = parse_component(Schedule, {"kind": "warmup", "rounds": 4, "start": 0.2})
    assert [warmup.factor(number, 9) for number in (1, 2, 3, 4, 5, 9)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    step = parse_component(Schedule, {"kind": "step", "every": 3, "decay": 0.5})
    assert [step.factor(number, 9) for number in range(1, 8)] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]
