"""Layers of sequences in torch, a step after the other.

torch's own recurrent functions have no rule for the gradients of single examples (`torch.func.vmap`), which private
steps need, and may choose another order of sums on another machine. So may its own attention. The derivatives of both
are autograd's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.layers import Attention, Embedding, LastStep, Lstm, MeanStep, Positions, Recurrent
from flspec_torch.layers.base import Backward, Gradients, Masks, Tensors, Translation, Vjp, Wanted

__all__: list[str] = []

_aten: Any = torch.ops.aten
_embedding_backward = _aten.embedding_dense_backward.default
_select_backward = _aten.select_backward.default


class EmbeddingInTorch(Translation[Embedding], of=Embedding):
    learns = ("weight",)

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return F.embedding(inputs[0].long(), self.own(tensors, "weight"))

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        weight, (wants_weight,) = self.own(tensors, "weight"), wanted.learned

        def forward(tokens: Tensor) -> tuple[Tensor, Backward]:
            rows = tokens.long()

            def backward(gradient: Tensor) -> Gradients:
                found = _embedding_backward(gradient, rows, len(weight), -1, False) if wants_weight else None
                return (None,), (found,)

            return F.embedding(rows, weight), backward

        return forward


class PositionsInTorch(Translation[Positions], of=Positions):
    learns = ("weight",)

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0] + self.own(tensors, "weight")

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        weight, (wants_weight,) = self.own(tensors, "weight"), wanted.learned

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            def backward(gradient: Tensor) -> Gradients:
                return (gradient,), (gradient.sum_to_size(weight.shape) if wants_weight else None,)

            return x + weight, backward

        return forward


class AttentionInTorch(Translation[Attention], of=Attention):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return attention(self.layer, *inputs)


class RecurrentInTorch(Translation[Recurrent], of=Recurrent):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return recurrent(self.layer, tensors, inputs[0])


class LastStepInTorch(Translation[LastStep], of=LastStep):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return last_step(*inputs)[0]

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return last_step


class MeanStepInTorch(Translation[MeanStep], of=MeanStep):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return mean_step(*inputs)[0]

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return mean_step


def recurrent(layer: Recurrent, tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the state after each step of x [batch, steps, features]: [batch, steps, units]."""
    w_ih, w_hh, b_ih, b_hh = (
        tensors[f"{layer.name}.{suffix}"] for suffix in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    given = F.linear(x, w_ih, b_ih).unbind(1)  # of all steps at once, as they do not depend on the state
    step = _lstm if isinstance(layer, Lstm) else _gru
    state = (x.new_zeros(len(x), layer.units),) * 2
    states = []
    for now in given:
        state = step(now, F.linear(state[0], w_hh, b_hh), state)
        states.append(state[0])
    return torch.stack(states, 1)


_State = tuple[Tensor, Tensor]  # the output, and what else goes on to the next step


def _lstm(given: Tensor, carried: Tensor, state: _State) -> _State:
    i, f, g, o = (given + carried).chunk(4, -1)
    cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _gru(given: Tensor, carried: Tensor, state: _State) -> _State:
    (r, z, n), (r_, z_, n_) = given.chunk(3, -1), carried.chunk(3, -1)
    update = torch.sigmoid(z + z_)
    output = (1 - update) * torch.tanh(n + torch.sigmoid(r + r_) * n_) + update * state[0]
    return output, output


def attention(layer: Attention, x: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Return what the heads give of x [batch, steps, 3 width]: [batch, steps, width]."""
    num, steps, features = x.shape
    size = features // 3 // layer.heads
    query, key, value = x.reshape(num, steps, 3, layer.heads, size).permute(2, 0, 3, 1, 4).unbind(0)
    scores = query @ key.transpose(-1, -2) / math.sqrt(size)  # [batch, heads, steps, steps]
    if layer.causal:
        scores = scores.masked_fill(torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1), -math.inf)
    if tokens is not None:
        scores = scores.masked_fill(~_counts(tokens)[:, None, None, :], -math.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def last_step(x: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Backward]:
    """Return the last step of x [batch, steps, features] before padding: [batch, features]."""
    if tokens is None:
        return x[:, -1], lambda gradient: ((_select_backward(gradient, x.shape, 1, -1),), ())
    places = (_lengths(tokens) - 1).view(-1, 1, 1).expand(-1, 1, x.shape[2])

    def backward(gradient: Tensor) -> Gradients:
        return (gradient.new_zeros(x.shape).scatter_add_(1, places, gradient.unsqueeze(1)), None), ()

    return x.gather(1, places).squeeze(1), backward


def mean_step(x: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Backward]:
    """Return the mean of x [batch, steps, features] over the steps before padding: [batch, features]."""
    if tokens is None:
        return x.mean(1), lambda gradient: ((gradient.unsqueeze(1).expand(x.shape) / x.shape[1],), ())
    lengths, counts = _lengths(tokens).unsqueeze(1), _counts(tokens).unsqueeze(2)

    def backward(gradient: Tensor) -> Gradients:
        of_each = (gradient / lengths).unsqueeze(1).expand(x.shape)
        return (torch.where(counts, of_each, 0.0), None), ()

    return torch.where(counts, x, 0.0).sum(1) / lengths, backward


def _lengths(tokens: Tensor) -> Tensor:
    return (tokens != 0).sum(1).clamp(min=1)


def _counts(tokens: Tensor) -> Tensor:
    """Return which steps count: bool [batch, steps]."""
    return torch.arange(tokens.shape[1], device=tokens.device) < _lengths(tokens).unsqueeze(1)
