"""Pooling layers in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.layers import AveragePool, GlobalAveragePool, MaxPool
from flspec_torch.layers.base import Backward, Masks, Tensors, Translation, Vjp, Wanted

__all__: list[str] = []

_aten: Any = torch.ops.aten
_max_pool, _max_pool_backward = (
    _aten.max_pool2d_with_indices.default,
    _aten.max_pool2d_with_indices_backward.default,
)
_average_pool, _average_pool_backward = _aten.avg_pool2d.default, _aten.avg_pool2d_backward.default


class MaxPoolInTorch(Translation[MaxPool], of=MaxPool):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return F.max_pool2d(inputs[0], self.layer.size, self.layer.stride, self.layer.padding)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        size, stride, padding = self.layer.size, self.layer.stride or self.layer.size, self.layer.padding
        settings: tuple[Any, ...] = ([size] * 2, [stride] * 2, [padding] * 2, [1, 1], False)

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            # The maxima and their places are the same in any memory format, but with channels last they are found for
            # several channels at once: three times as fast, both conversions included.
            y, places = _max_pool(x.contiguous(memory_format=torch.channels_last), *settings)
            y, places = y.contiguous(), places.contiguous()
            return y, lambda gradient: ((_max_pool_backward(gradient, x, *settings, places),), ())

        return forward


class AveragePoolInTorch(Translation[AveragePool], of=AveragePool):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return F.avg_pool2d(inputs[0], self.layer.size)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        size = [self.layer.size] * 2
        settings: tuple[Any, ...] = (size, size, [0, 0], False, True, None)

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            return _average_pool(x, *settings), lambda gradient: ((_average_pool_backward(gradient, x, *settings),), ())

        return forward


class GlobalAveragePoolInTorch(Translation[GlobalAveragePool], of=GlobalAveragePool):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0].mean((2, 3), keepdim=True)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            num_pixels = x.shape[2] * x.shape[3]
            y = torch.mean(x, (2, 3), keepdim=True)
            return y, lambda gradient: ((gradient.expand(x.shape) / num_pixels,), ())

        return forward
