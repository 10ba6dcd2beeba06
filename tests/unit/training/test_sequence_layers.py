"""Layers of texts in torch: embedding and padding against their definitions, and wrong rules that must be caught.

The recurrent layers are held to their definitions with all others, in test_torch_layers.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flspec.layers import INPUT, Embedding, Gru, LastStep, Lstm, MeanStep, chain, count_values_made, one_network
from flspec_torch.model import build_forward
from tests import numpy_layers
from tests.layer_cases import random_inputs, random_tensors
from tests.torch_passes import check_gradients_of_single_examples, largest_deviation, torch_gradients, torch_pass

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
POOLS = pytest.mark.parametrize("over", [LastStep, MeanStep])
CELLS = pytest.mark.parametrize("cell", [Lstm, Gru])


def text_graph(cell=Lstm, over=LastStep, padded=True):
    counted = ("cell", INPUT) if padded else ()
    return chain(
        [Embedding(name="embedding", tokens=7, features=3), cell(name="cell", units=4), over(name="l", inputs=counted)]
    )


def outputs(layers, tokens=TOKENS, tensors=None):
    """Torch's outputs in float64, and those of the definition."""
    tensors = tensors or random_tensors(layers, tokens.shape[1:])
    expected = numpy_layers.forward(layers, tensors, tokens).outputs
    return torch_pass(layers, tensors, tokens, None, torch.float64)[0], expected


@CELLS
@POOLS
@pytest.mark.parametrize("padded", [True, False])
def test_a_text_model_gives_what_the_definitions_give(cell, over, padded):
    assert largest_deviation(*outputs(text_graph(cell, over, padded))) < 1e-14


@CELLS
@POOLS
def test_padding_changes_no_output(cell, over):
    layers = text_graph(cell, over)
    tensors = random_tensors(layers, (5,))
    longer = np.pad(TOKENS[:3], [(0, 0), (0, 4)])
    assert largest_deviation(outputs(layers, longer, tensors)[0], outputs(layers, TOKENS[:3], tensors)[0]) < 1e-14
    counted = text_graph(cell, over, padded=False)
    assert largest_deviation(outputs(counted, longer, tensors)[0], outputs(counted, TOKENS[:3], tensors)[0]) > 1e-2


@POOLS
def test_padding_has_no_gradient_and_every_token_of_a_text_has_one(over):
    layers = text_graph(over=over)
    tensors = {name: torch.tensor(value) for name, value in random_tensors(layers, (5,)).items()}
    weight = tensors["embedding.weight"].requires_grad_()
    found = build_forward(one_network(layers, (5,)))(tensors, torch.from_numpy(TOKENS[1:3]), None).sum()
    (gradient,) = torch.autograd.grad(found, [weight])
    assert gradient.abs().sum(1).nonzero().flatten().tolist() == [2, 5, 6]


def test_an_embedding_s_gradient_is_the_sum_over_the_places_of_a_token():
    layers = text_graph()
    tensors = {name: value.astype(np.float64) for name, value in random_tensors(layers, (5,)).items()}
    held = {name: torch.tensor(value).requires_grad_() for name, value in tensors.items()}
    found = build_forward(one_network(layers, (5,)))(held, torch.from_numpy(TOKENS), None).sum()
    gradient = torch.autograd.grad(found, [held["embedding.weight"]])[0].numpy()
    for place in np.ndindex(7, 3):
        moved = [tensors["embedding.weight"].copy() for _ in range(2)]
        for weight, by in zip(moved, (1e-6, -1e-6), strict=True):
            weight[place] += by
        ahead, behind = (
            numpy_layers.forward(layers, tensors | {"embedding.weight": weight}, TOKENS).outputs.sum()
            for weight in moved
        )
        assert gradient[place] == pytest.approx((ahead - behind) / 2e-6, abs=1e-8)


@CELLS
def test_torch_s_own_layer_with_the_same_tensors_is_the_same(cell):
    layers, x = chain([cell(name="l", units=4)]), random_inputs((5, 3))
    tensors = random_tensors(layers, (5, 3))
    theirs = (torch.nn.LSTM if cell is Lstm else torch.nn.GRU)(3, 4, batch_first=True).double()
    theirs.load_state_dict({f"{name[2:]}_l0": torch.tensor(value) for name, value in tensors.items()})
    expected = theirs(torch.tensor(x).double())[0].detach().numpy()
    assert largest_deviation(torch_pass(layers, tensors, x, None, torch.float64)[0], expected) < 1e-14


def test_each_example_s_gradient_can_be_taken_at_once():
    layers = text_graph()
    tensors = {name: torch.tensor(value) for name, value in random_tensors(layers, (5,)).items()}
    forward = build_forward(one_network(layers, (5,)))
    check_gradients_of_single_examples(forward, tensors, torch.from_numpy(TOKENS), rtol=1e-5, atol=1e-6)


@CELLS
def test_what_training_stores_of_a_recurrent_layer_is_counted(cell):
    network, num = one_network(chain([cell(name="l", units=64)]), (20, 8)), 16
    tensors = {n: torch.tensor(v).requires_grad_() for n, v in random_tensors(network.layers, (20, 8)).items()}
    stored = {}

    def note(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor  # kept, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        build_forward(network)(tensors, torch.randn(num, 20, 8), None)
    nbytes = sum(tensor.untyped_storage().nbytes() for tensor in stored.values())
    measured = (nbytes - 4 * sum(tensor.numel() for tensor in tensors.values())) / 4 / num
    assert measured < count_values_made(network) < 2 * measured


# ---------------------------------------------------------------------------------- wrong rules that must be caught


def gates_in_tensorflow_s_order(layer, own, inputs, mask):
    """i, f, o, g."""
    order = np.concatenate([np.arange(4) + 4 * block for block in (0, 1, 3, 2)])
    return numpy_layers.lstm(layer, {name: value[order] for name, value in own.items()}, inputs, mask)


def state_carried_between_examples(layer, own, inputs, mask):
    """One example after the other as if they were one text."""
    batch, steps, features = inputs[0].shape
    whole = numpy_layers.lstm(layer, own, [inputs[0].reshape(1, batch * steps, features)], mask)
    return whole.reshape(batch, steps, -1)


def one_bias(layer, own, inputs, mask):
    return numpy_layers.lstm(layer, own | {"bias_hh": 0 * own["bias_hh"]}, inputs, mask)


def backwards(layer, own, inputs, mask):
    return numpy_layers.lstm(layer, own, [inputs[0][:, ::-1]], mask)


def reset_before_the_product(layer, own, inputs, mask):
    """n = tanh(W x + U (r h)), as in the paper of 2014: torch resets after the product."""
    h = np.zeros((len(inputs[0]), layer.units))
    w, b, states = np.split(own["weight_hh"], 3), np.split(own["bias_hh"], 3), []
    for step in range(inputs[0].shape[1]):
        r, z, n = np.split(numpy_layers.linear(own, "ih", inputs[0][:, step]), 3, axis=1)
        reset, keep = (numpy_layers.sigmoid(gate + h @ w[at].T + b[at]) for at, gate in ((0, r), (1, z)))
        h = (1 - keep) * np.tanh(n + (reset * h) @ w[2].T + b[2]) + keep * h
        states.append(h)
    return np.stack(states, axis=1)


def update_the_other_way(layer, own, inputs, mask):
    sign = np.repeat([1, -1, 1], layer.units)
    turned = {name: (value.T * sign).T for name, value in own.items()}
    return numpy_layers.gru(layer, turned, inputs, mask)


@pytest.mark.parametrize(
    ("cell", "wrong"),
    [
        (Lstm, gates_in_tensorflow_s_order),
        (Lstm, state_carried_between_examples),
        (Lstm, one_bias),
        (Lstm, backwards),
        (Gru, reset_before_the_product),
        (Gru, update_the_other_way),
    ],
)
def test_a_wrong_recurrent_layer_is_caught(cell, wrong, monkeypatch):
    layers = chain([cell(name="l", units=4)])
    tensors, x = random_tensors(layers, (5, 3)), random_inputs((5, 3))
    found = torch_pass(layers, tensors, x, None, torch.float64)[0]
    monkeypatch.setitem(numpy_layers.RULES, layers[0].kind, wrong)
    assert largest_deviation(found, numpy_layers.forward(layers, tensors, x).outputs) > 1e-2


@POOLS
def test_padding_that_counts_is_caught(over, monkeypatch):
    layers = text_graph(over=over)
    monkeypatch.setattr(numpy_layers, "num_steps", lambda inputs: [inputs[0].shape[1]] * len(inputs[0]))
    assert largest_deviation(*outputs(layers)) > 1e-2


def test_a_state_that_does_not_pass_gradients_back_is_caught():
    layers = chain([Lstm(name="l", units=4)])
    tensors = random_tensors(layers, (5, 3))
    whole = torch_gradients(layers, tensors, random_inputs((5, 3)), None)
    cut = torch_gradients(layers, tensors | {"l.weight_hh": 0 * tensors["l.weight_hh"]}, random_inputs((5, 3)), None)
    direction = whole.directions()["l.weight_ih"]
    assert whole.error_along({"l.weight_ih": direction}) < 1e-8
    assert whole.found["l.weight_ih"] != pytest.approx(cut.found["l.weight_ih"], rel=1e-3)
