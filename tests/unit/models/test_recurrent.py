"""Models of texts: their published sizes, what they count of a padded text, and examples that they do not suit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.errors import InputError
from flspec.layers import count_multiply_adds, count_parameters, initial_tensors, one_network, parameters_of
from flspec.models.recurrent import RecurrentText
from flspec.spec.loading import parse_spec

SHAKESPEARE = {"kind": "shakespeare", "twin": {"clients": 4, "examples": 100}}


def network(model, num=80, outputs=80, steps=80, padded=False):
    return one_network(model.text_layers(Tokens(num, padded), steps, outputs), (steps,))


@pytest.mark.parametrize(
    ("letters", "published"),
    [
        # Reddi et al., ICLR 2021: 820,522, with the 90 tokens of TensorFlow Federated, whose LSTM has one bias of
        # 4 * 256 values a layer where torch's has two.
        (90, 820_522 + 2 * 4 * 256),
        # LEAF's 80 letters: 8 L + 4 * 256 (8 + 256 + 2) + 4 * 256 (256 + 256 + 2) + (256 + 1) L.
        (80, 819_920),
    ],
)
def test_the_shakespeare_network_has_the_published_number_of_parameters(letters, published):
    assert count_parameters(network(RecurrentText(), letters, letters)) == published


def test_another_width_is_another_number():
    assert count_parameters(network(RecurrentText(embedding=9))) != 819_920


def test_each_step_of_a_recurrent_layer_uses_every_weight_once():
    layers = network(RecurrentText(units=(3,), embedding=2), num=5, outputs=4, steps=7)
    assert count_multiply_adds(layers) == 7 * (12 * 2 + 12 * 3 + 12 + 12) + (4 * 3 + 4)


def test_initial_values_are_torch_s():
    drawn = initial_tensors(parameters_of(network(RecurrentText())), Stream(0))
    bound = 1 / 16  # 1 / sqrt(256)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        values = drawn[f"lstm_2.{name}"]
        assert 0.99 * bound < np.abs(values).max() <= bound
        assert abs(values.mean()) < 0.1 * bound
    assert abs(drawn["embedding.weight"].std() - 1) < 0.1


def test_padding_is_counted_out_only_where_there_is_some():
    assert network(RecurrentText(), padded=True).layers[-2].inputs == ("lstm_2", "input")
    assert network(RecurrentText()).layers[-2].inputs == ("lstm_2",)


def spec(dataset, model):
    company = {"partition": {"kind": "iid", "clients": 4}, "rounds": 1, "seed": 0, "name": "text"}
    client = {"epochs": 1, "batch_size": 10, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    whole = {"flspec": 1, "dataset": dataset, "model": model, "client": client, "aggregator": {"kind": "fedavg"}}
    return parse_spec(json.dumps(whole | company))


@pytest.mark.parametrize("kind", ["softmax_regression", "mlp"])
def test_a_model_of_numbers_refuses_texts(kind):
    with pytest.raises(InputError, match="takes numbers that measure something, but these examples are texts"):
        compile(spec(SHAKESPEARE, {"kind": kind}))


def test_a_model_of_texts_refuses_numbers():
    with pytest.raises(InputError, match=r"model: .*reads texts, but these examples are numbers"):
        compile(spec({"kind": "digits"}, {"kind": "recurrent"}))


def test_a_plan_of_texts_has_one_output_a_letter():
    plan = compile(spec(SHAKESPEARE, {"kind": "recurrent", "units": [4]}))
    assert plan.weights["output.weight"].shape == (80, 4)
    assert plan.weights["embedding.weight"].shape == (80, 8)
    assert plan.settings.data.feature_type == "uint8"
    assert plan.settings.data.label_names[:3] == ("newline", "space", "!")
