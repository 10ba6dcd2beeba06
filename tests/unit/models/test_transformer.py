"""The transformer of texts: its published size, torch's own blocks, its initial values, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.layers import (
    Dropout,
    count_multiply_adds,
    count_parameters,
    initial_tensors,
    one_network,
    parameters_of,
)
from flspec.models.transformer import TransformerText
from tests import numpy_layers
from tests.layer_cases import random_tensors

GPT_2 = TransformerText(blocks=12, width=768, heads=12, hidden=3072)
TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 3, 5]], np.float32)
SMALL: dict[str, Any] = {"blocks": 2, "width": 6, "heads": 2, "hidden": 9}
# torch.nn.TransformerEncoderLayer's names for a block's tensors.
NAMES = {
    "self_attn.in_proj_weight": "attention_in.weight",
    "self_attn.in_proj_bias": "attention_in.bias",
    "self_attn.out_proj.weight": "attention_out.weight",
    "self_attn.out_proj.bias": "attention_out.bias",
    "linear1.weight": "dense_1.weight",
    "linear1.bias": "dense_1.bias",
    "linear2.weight": "dense_2.weight",
    "linear2.bias": "dense_2.bias",
    "norm1.weight": "1_norm.weight",
    "norm1.bias": "1_norm.bias",
    "norm2.weight": "2_norm.weight",
    "norm2.bias": "2_norm.bias",
}


def network(model, num=7, outputs=3, steps=5, padded=False):
    return one_network(model.text_layers(Tokens(num, padded), steps, outputs), (steps,))


def test_gpt_2_has_its_published_number_of_parameters():
    """124,439,808 (its smallest), whose last layer has the embedding's weights and no bias. Here it has its own."""
    num = 50257
    assert count_parameters(network(GPT_2, num, num, 1024)) == 124_439_808 + (768 + 1) * num


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_blocks_are_torch_s_own(causal, pre_norm):
    layers = network(TransformerText(**SMALL, causal=causal, pre_norm=pre_norm)).layers
    tensors = random_tensors(layers, (5,))
    values = numpy_layers.forward(layers, tensors, TOKENS).values
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64) if causal else None
    x = torch.from_numpy(values["positions"])
    for number in (1, 2):
        block = torch.nn.TransformerEncoderLayer(
            6, 2, 9, dropout=0.0, activation="gelu", batch_first=True, norm_first=pre_norm, dtype=torch.float64
        )
        block.load_state_dict({n: torch.from_numpy(tensors[f"block_{number}.{own}"]) for n, own in NAMES.items()})
        x = block(x, mask)
        last = f"block_{number}.2_{'sum' if pre_norm else 'norm'}"
        np.testing.assert_allclose(x.detach().numpy(), values[last], rtol=1e-12, atol=1e-12)


def test_the_last_step_is_normed_only_where_norms_come_first():
    for pre_norm in (True, False):
        names = [layer.name for layer in network(TransformerText(**SMALL, pre_norm=pre_norm)).layers]
        assert ("norm" in names) == pre_norm
        assert names[-2:] == ["last_step", "output"]


def test_initial_values_are_gpt_2_s():
    """Radford et al., 2019: N(0, 0.02^2), and 1 / sqrt(2 blocks) of that where a sum adds what the layer gives."""
    drawn = initial_tensors(
        parameters_of(network(TransformerText(blocks=2, width=128, heads=4, hidden=512))), Stream(0)
    )
    for name in ("attention_in", "dense_1", "attention_out", "dense_2"):
        std = 0.02 / (math.sqrt(2 * 2) if name in ("attention_out", "dense_2") else 1)
        assert drawn[f"block_2.{name}.weight"].std() == pytest.approx(std, rel=0.03)
        assert not drawn[f"block_2.{name}.bias"].any()
    for name in ("embedding", "positions", "output"):
        assert drawn[f"{name}.weight"].std() == pytest.approx(0.02, rel=0.15)
    assert {name for name in drawn if "norm" in name and (drawn[name] == 1).all()} == {
        f"{norm}.weight" for norm in ("block_1.1_norm", "block_1.2_norm", "block_2.1_norm", "block_2.2_norm", "norm")
    }


def test_dropout_is_of_the_embeddings_and_of_all_that_is_added():
    layers = network(TransformerText(**SMALL, dropout=0.1)).layers
    drops = {layer.name: layer.inputs for layer in layers if isinstance(layer, Dropout)}
    assert drops == {
        "embedding_dropout": ("positions",),
        "block_1.1_dropout": ("block_1.attention_out",),
        "block_1.2_dropout": ("block_1.dense_2",),
        "block_2.1_dropout": ("block_2.attention_out",),
        "block_2.2_dropout": ("block_2.dense_2",),
    }
    added = {layer.name: layer.inputs for layer in layers if layer.kind == "add"}
    assert added["block_1.1_sum"] == ("embedding_dropout", "block_1.1_dropout")
    assert added["block_1.2_sum"] == ("block_1.1_sum", "block_1.2_dropout")


def test_padding_is_left_out_of_attention_and_of_the_last_layer():
    of_tokens = {
        layer.name for layer in network(TransformerText(**SMALL), padded=True).layers if "input" in layer.inputs
    }
    assert of_tokens == {"embedding", "block_1.attention", "block_2.attention", "last_step"}
    plain = {layer.name for layer in network(TransformerText(**SMALL)).layers if "input" in layer.inputs}
    assert plain == {"embedding"}


def test_multiplications_are_those_of_each_step_and_of_each_pair_of_steps():
    counted = count_multiply_adds(network(TransformerText(blocks=1, width=4, heads=2, hidden=6), steps=7))
    dense = 7 * ((4 + 1) * 12 + (4 + 1) * 4 + (4 + 1) * 6 + (6 + 1) * 4)
    assert counted == dense + 2 * 7 * 7 * 4 + 3 * 2 * 7 * 4 + (4 + 1) * 3


def test_heads_that_cannot_share_the_width_are_refused():
    with pytest.raises(ValidationError, match="width: 10 is no multiple of heads 4; change one of them"):
        TransformerText(width=10, heads=4)
