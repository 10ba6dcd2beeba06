"""Normalisations in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.layers import BatchNorm, GroupNorm, LayerNorm
from flspec_torch.layers.base import Backward, Gradients, Masks, Tensors, Translation, Vjp, Wanted

__all__: list[str] = []

_aten: Any = torch.ops.aten
_group_norm, _group_norm_backward = _aten.native_group_norm.default, _aten.native_group_norm_backward.default
_batch_norm, _batch_norm_backward = _aten.native_batch_norm.default, _aten.native_batch_norm_backward.default
_layer_norm, _layer_norm_backward = _aten.native_layer_norm.default, _aten.native_layer_norm_backward.default


class GroupNormInTorch(Translation[GroupNorm], of=GroupNorm):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        weight, bias = self.own(tensors, "weight"), self.own(tensors, "bias")
        return F.group_norm(inputs[0], self.layer.groups, weight, bias, self.layer.epsilon)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        weight, bias = self.own(tensors, "weight"), self.own(tensors, "bias")
        groups, epsilon, wants = self.layer.groups, self.layer.epsilon, [*wanted.inputs, *wanted.learned]

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            x = x.contiguous()
            num, channels, height, width = x.shape
            sizes = (num, channels, height * width, groups)
            y, mean, rstd = _group_norm(x, weight, bias, *sizes, epsilon)

            def backward(gradient: Tensor) -> Gradients:
                found = _group_norm_backward(gradient.contiguous(), x, mean, rstd, weight, *sizes, wants)
                return found[:1], found[1:]

            return y, backward

        return forward


class BatchNormInTorch(Translation[BatchNorm], of=BatchNorm):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        mean, variance, weight, bias = self._tensors(tensors)
        from_batch = masks is not None and self._learns_statistics
        return F.batch_norm(
            inputs[0], mean, variance, weight, bias, from_batch, self.layer.momentum, self.layer.epsilon
        )

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        mean, variance, weight, bias = self._tensors(tensors)
        from_batch, wants = self._learns_statistics, [*wanted.inputs, *wanted.learned]
        momentum, epsilon = self.layer.momentum, self.layer.epsilon

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            y, *saved = _batch_norm(x, weight, bias, mean, variance, from_batch, momentum, epsilon)

            def backward(gradient: Tensor) -> Gradients:
                found = _batch_norm_backward(gradient, x, weight, mean, variance, *saved, from_batch, epsilon, wants)
                return found[:1], found[1:]

            return y, backward

        return forward

    @property
    def _learns_statistics(self) -> bool:
        """Whether training normalises by the batch, and changes the running statistics."""
        return self.layer.statistics != "frozen" and not self.layer.frozen

    def _tensors(self, tensors: Tensors) -> list[Tensor]:
        return [self.own(tensors, suffix) for suffix in ("running_mean", "running_var", "weight", "bias")]


class LayerNormInTorch(Translation[LayerNorm], of=LayerNorm):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        weight, bias = self.own(tensors, "weight"), self.own(tensors, "bias")
        return F.layer_norm(inputs[0], inputs[0].shape[-1:], weight, bias, self.layer.epsilon)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        weight, bias = self.own(tensors, "weight"), self.own(tensors, "bias")
        shape, wants = list(weight.shape), [*wanted.inputs, *wanted.learned]

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            y, mean, rstd = _layer_norm(x, shape, weight, bias, self.layer.epsilon)

            def backward(gradient: Tensor) -> Gradients:
                found = _layer_norm_backward(gradient, x, shape, mean, rstd, weight, bias, wants)
                return found[:1], found[1:]

            return y, backward

        return forward
