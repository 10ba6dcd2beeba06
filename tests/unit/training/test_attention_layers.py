"""Attention and layer norm in torch: torch's own modules, padding, what comes later, and wrong rules to be caught."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from flspec.core.tokens import Tokens
from flspec.layers import Attention, Dense, Layer, LayerNorm, chain, count_values_made, one_network, parameters_of
from flspec.models.transformer import TransformerText
from flspec_torch.model import build_forward
from tests import numpy_layers
from tests.layer_cases import TEXTS, TOKENS, attending_to_a_text, graph_of, random_inputs, random_tensors
from tests.torch_passes import check_gradients_of_single_examples, largest_deviation, torch_gradients, torch_pass

SHAPE = (5, 12)
HEADED: list[Layer] = [Dense(name="in", units=36), Attention(name="l", heads=3), Dense(name="out", units=12)]
either = pytest.mark.parametrize("causal", [True, False])


def outputs(layers, tensors, x):
    return torch_pass(layers, tensors, x, None, torch.float64)[0]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_model_gives_what_the_definitions_give(name):
    tensors = random_tensors(TEXTS[name], (5,))
    expected = numpy_layers.forward(TEXTS[name], tensors, TOKENS).outputs
    assert largest_deviation(outputs(TEXTS[name], tensors, TOKENS), expected) < 1e-14


@either
@pytest.mark.parametrize("padded", [True, False])
def test_torch_s_own_attention_with_the_same_tensors_is_the_same(causal, padded):
    lengths = np.array([5, 3, 1, 2]) if padded else np.full(4, 5)
    counted = (np.arange(5) < lengths[:, None]).astype(np.float32)
    layers = [HEADED[0], HEADED[1].model_copy(update={"causal": causal, "inputs": ("in", "tokens")}), HEADED[2]]
    tensors, x = random_tensors(chain(HEADED), SHAPE), random_inputs(SHAPE, scale=1.0)
    ours = numpy_layers.forward(chain(layers), tensors, {"input": x, "tokens": counted}).outputs
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    names = {"in_proj_weight": "in.weight", "in_proj_bias": "in.bias", "out_proj.weight": "out.weight"}
    names |= {"out_proj.bias": "out.bias"}
    theirs.load_state_dict({name: torch.tensor(tensors[own]) for name, own in names.items()})
    given = torch.tensor(x).double()
    ahead = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    padding = torch.tensor(counted == 0)
    found, _ = theirs(given, given, given, key_padding_mask=padding, need_weights=False, attn_mask=ahead)
    expected = found.detach().numpy()
    assert largest_deviation(ours, expected) < 1e-14
    if not padded:
        plain = chain([HEADED[0], HEADED[1].model_copy(update={"causal": causal}), HEADED[2]])
        assert largest_deviation(outputs(plain, tensors, x), expected) < 1e-14


@either
def test_padding_changes_no_output(causal):
    layers = attending_to_a_text(causal)
    tensors, longer = random_tensors(layers, (5,)), np.pad(TOKENS[:3], [(0, 0), (0, 4)])
    assert largest_deviation(outputs(layers, tensors, longer), outputs(layers, tensors, TOKENS[:3])) < 1e-14


@either
def test_what_comes_later_changes_a_step_only_where_it_may(causal):
    layers = chain([Attention(name="l", heads=2, causal=causal)])
    x = random_inputs(SHAPE, scale=1.0)
    other = x.copy()
    other[:, 3:] += 1
    moved = np.abs(outputs(layers, {}, other) - outputs(layers, {}, x)).max(axis=(0, 2))
    assert (moved[:3] == 0).all() if causal else (moved[:3] > 1e-3).all()
    assert (moved[3:] > 1e-3).all()


@pytest.mark.parametrize("pre_norm", [True, False])
def test_each_example_s_gradient_can_be_taken_at_once(pre_norm):
    model = TransformerText(blocks=1, width=4, heads=2, hidden=6, pre_norm=pre_norm)
    network = one_network(model.text_layers(Tokens(7, are_padded=True), 5, 3), (5,))
    tensors = {name: torch.tensor(value) for name, value in random_tensors(network.layers, (5,)).items()}
    forward = build_forward(network)
    check_gradients_of_single_examples(forward, tensors, torch.from_numpy(TOKENS), rtol=1e-4, atol=1e-5)


def test_what_training_stores_of_attention_is_counted():
    network, num = one_network(chain([Attention(name="l", heads=4, causal=True)]), (40, 3 * 16)), 8
    stored = {}

    def note(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor  # kept, so that no address is used twice
        return tensor

    x = torch.randn(num, 40, 3 * 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        build_forward(network)({}, x, None)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in stored.values()) / 4 / num
    assert measured < count_values_made(network) < 2.5 * measured


# ---------------------------------------------------------------------------------- wrong rules that must be caught


def with_queries_times(factor):
    def attention(layer, own, inputs, mask):
        width = inputs[0].shape[2] // 3
        scaled = inputs[0] * np.concatenate([np.full(width, factor), np.ones(2 * width)])
        return numpy_layers.attention(layer, own, [scaled, *inputs[1:]], mask)

    return attention


def reordered(order):
    def attention(layer, own, inputs, mask):
        parts = np.split(inputs[0], 3, axis=2)
        return numpy_layers.attention(layer, own, [np.concatenate([parts[i] for i in order], axis=2)], mask)

    return attention


def heads_dealt_in_turn(layer, own, inputs, mask):
    """Feature j of a query is of head j % heads."""
    shape = inputs[0].shape
    dealt = inputs[0].reshape(*shape[:2], 3, -1, layer.heads).swapaxes(3, 4).reshape(shape)
    return numpy_layers.attention(layer, own, [dealt], mask)


def one_head(layer, own, inputs, mask):
    return numpy_layers.attention(layer.model_copy(update={"heads": 1}), own, inputs, mask)


def not_itself(layer, own, inputs, mask):
    """A step sees those before it alone; the first itself."""
    outputs = numpy_layers.attention(layer, own, inputs, mask)
    queries = np.split(inputs[0], 3, axis=2)
    shifted = np.concatenate([queries[0][:, 1:], queries[0][:, :1]], axis=1)
    before = numpy_layers.attention(layer, own, [np.concatenate([shifted, *queries[1:]], axis=2)], mask)
    return np.concatenate([outputs[:, :1], before[:, :-1]], axis=1)


def over_all_steps(layer, own, inputs, mask):
    x = inputs[0]
    scaled = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + layer.epsilon)
    return scaled * own["weight"] + own["bias"]


def less_one(layer, own, inputs, mask):
    x = inputs[0]
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + layer.epsilon)
    return scaled * own["weight"] + own["bias"]


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ("attention", with_queries_times(math.sqrt(2))),  # as if not divided by the root of the heads' size
        ("attention", reordered([1, 0, 2])),
        ("attention", reordered([0, 2, 1])),
        ("attention", heads_dealt_in_turn),
        ("attention", one_head),
        ("attention, causal", not_itself),
        ("layer_norm", over_all_steps),
        ("layer_norm", less_one),
    ],
)
def test_a_wrong_rule_is_caught(case, wrong, monkeypatch):
    layers, shape = graph_of(case)
    tensors, x = random_tensors(layers, shape), random_inputs(shape)
    found = outputs(layers, tensors, x)
    monkeypatch.setitem(numpy_layers.RULES, layers[-1].kind, wrong)
    assert largest_deviation(found, numpy_layers.forward(layers, tensors, x).outputs) > 1e-3


def test_weights_that_have_no_gradient_are_caught():
    layers, shape = graph_of("attention")
    whole = torch_gradients(layers, random_tensors(layers, shape), random_inputs(shape), None)
    direction = {"m.weight": whole.directions()["m.weight"]}
    assert whole.error_along(direction) < 1e-8
    fixed = {**whole.found, "m.weight": whole.found["m.weight"].copy()}
    fixed["m.weight"][:8] = 0  # of queries and keys
    assert type(whole)(whole.layers, whole.at, whole.masks, whole.cotangent, fixed).error_along(direction) > 1e-3


def test_layer_norm_has_a_weight_and_a_bias_for_each_feature():
    tensors = parameters_of(one_network(chain([LayerNorm(name="l")]), (5, 3)))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"l.weight": (3,), "l.bias": (3,)}
