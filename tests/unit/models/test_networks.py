"""Networks: layers with named inputs, whose tensors carry the network's name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flspec.core.randomness import Stream
from flspec.layers import (
    Add,
    Dense,
    Network,
    chain,
    count_multiply_adds,
    count_parameters,
    count_values_made,
    describe_network,
    initial_tensors,
    one_network,
    parameters_of,
    parse_network,
    trace,
)
from flspec_torch.model import build_forward, build_network, to_tensors


def two_inputs(name: str = "judge") -> Network:
    layers = (
        Dense(name="a", units=2, inputs=("picture",)),
        Dense(name="b", units=2, inputs=("label",)),
        Add(name="sum", inputs=("a", "b")),
    )
    return Network(name, {"picture": (3,), "label": (2,)}, layers)


def test_tensors_carry_the_networks_name_and_those_of_the_one_network_none():
    suffixes = ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert list(parameters_of(two_inputs())) == [f"judge.{name}" for name in suffixes]
    assert list(parameters_of(two_inputs(""))) == suffixes


def test_networks_of_one_recipe_start_apart():
    one, other = (initial_tensors(parameters_of(two_inputs(name)), Stream(0)) for name in ("one", "other"))
    assert not np.array_equal(one["one.a.weight"], other["other.a.weight"])


def test_shapes_and_counts_are_of_all_inputs():
    network = two_inputs()
    assert trace(network) == {"picture": (3,), "label": (2,), "a": (2,), "b": (2,), "sum": (2,)}
    assert count_parameters(network) == (3 * 2 + 2) + (2 * 2 + 2)
    assert count_multiply_adds(network) == count_parameters(network)
    assert count_values_made(network) == 3 + 2 + 2 + 2 + 2
    assert network.output == "sum"


def test_a_network_takes_its_own_tensors_and_none_whose_name_begins_alike():
    tensors = {"judge.a.weight": 1, "judges.a.weight": 2, "judge.judge.bias": 3}
    assert two_inputs().own(tensors) == {"a.weight": 1, "judge.bias": 3}


def test_a_described_network_is_read_back():
    network = two_inputs()
    assert parse_network("judge", describe_network(network)) == network


def test_torch_evaluates_each_network_with_its_own_tensors():
    networks = [two_inputs("one"), two_inputs("other")]
    values = {name: v for n in networks for name, v in initial_tensors(parameters_of(n), Stream(0)).items()}
    picture, label = torch.randn(4, 3), torch.randn(4, 2)
    for network in networks:
        own = {name: torch.tensor(value) for name, value in network.own(values).items()}
        expected = picture @ own["a.weight"].T + label @ own["b.weight"].T + own["a.bias"] + own["b.bias"]
        found = build_network(network)(to_tensors(values), {"picture": picture, "label": label}, None)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["", "judge"])
def test_the_one_input_of_a_chain_is_the_example(name):
    layers = chain([Dense(name="a", units=2)])
    network = one_network(layers, (3,)) if not name else Network(name, {"input": (3,)}, layers)
    values = initial_tensors(parameters_of(network), Stream(0))
    x = torch.randn(4, 3)
    torch.testing.assert_close(
        build_forward(network)(to_tensors(values), x, None), x @ torch.tensor(values[f"{network.prefix}a.weight"]).T
    )
