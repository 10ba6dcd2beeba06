"""A network of a plan as a torch module is torch's own layers with the same tensors, in evaluation and in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flspec.layers import BatchNorm, Conv, Dense, Dropout, Flatten, chain, one_network
from flspec_torch.exporting import PlannedNetwork


@pytest.fixture
def theirs() -> nn.Sequential:
    torch.manual_seed(3)
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3))
    made.get_buffer("1.running_mean").add_(0.5)
    return made


@pytest.fixture
def ours(theirs: nn.Sequential) -> PlannedNetwork:
    layers = chain(
        [
            Conv(name="conv", channels=2, kernel_size=3),
            BatchNorm(name="type", statistics="averaged"),
            Flatten(name="flat"),
            Dropout(name="drop", rate=0.5),
            Dense(name="out", units=3),
        ]
    )
    places = {"conv": 0, "type": 1, "out": 4}
    tensors = {
        f"{name}.{suffix}": value.detach().clone()
        for name, place in places.items()
        for suffix, value in theirs[place].state_dict().items()
        if suffix != "num_batches_tracked"
    }
    fixed = {"type.running_mean", "type.running_var"}
    return PlannedNetwork(one_network(layers, (1, 4, 4)), tensors, fixed)


X = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_in_evaluation_nothing_is_dropped_and_nothing_changes(ours: PlannedNetwork, theirs: nn.Sequential) -> None:
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    assert torch.equal(ours.eval()(X), theirs.eval()(X))
    assert torch.equal(ours(X[:2]), ours(X)[:2])
    assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())


def test_in_training_values_are_dropped_anew_and_statistics_are_those_of_torch(
    ours: PlannedNetwork, theirs: nn.Sequential
) -> None:
    assert not torch.equal(ours.train()(X), ours(X))
    theirs.train()(X)
    theirs(X)
    assert torch.allclose(ours.state_dict()["type.running_mean"], theirs.get_buffer("1.running_mean"), atol=1e-6)
    assert torch.allclose(ours.state_dict()["type.running_var"], theirs.get_buffer("1.running_var"), atol=1e-6)


def test_what_is_learned_are_parameters_and_the_rest_are_buffers(ours: PlannedNetwork) -> None:
    assert {name for name, _ in ours.named_buffers()} == {"type.running_mean", "type.running_var"}
    assert {name for name, _ in ours.named_parameters()} == {
        *("conv.weight", "conv.bias", "type.weight", "type.bias", "out.weight", "out.bias")
    }
