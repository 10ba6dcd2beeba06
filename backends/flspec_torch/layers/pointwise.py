"""Pointwise layers in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.layers import Activation, Add, Dropout, Multiply
from flspec_torch.layers.base import Backward, Gradients, Masks, Tensors, Translation, Vjp, Wanted

__all__: list[str] = []

_aten: Any = torch.ops.aten
_threshold = _aten.threshold_backward.default
_hardtanh = _aten.hardtanh_backward.default
_tanh = _aten.tanh_backward.default
_sigmoid = _aten.sigmoid_backward.default
_silu = _aten.silu_backward.default
_gelu = _aten.gelu_backward.default
_leaky_relu = _aten.leaky_relu_backward.default

_Derivative = Callable[[Tensor, Tensor], Tensor]
_Function = tuple[Callable[[Tensor], Tensor], _Derivative, bool]

# Each function y of x, the gradient of x from that of y and from x or y, and whether it is from y.
_FUNCTIONS: dict[str, _Function] = {
    "relu": (F.relu, lambda gradient, y: _threshold(gradient, y, 0), True),
    "relu6": (F.relu6, lambda gradient, x: _hardtanh(gradient, x, 0, 6), False),
    "tanh": (torch.tanh, _tanh, True),
    "sigmoid": (torch.sigmoid, _sigmoid, True),
    "silu": (F.silu, _silu, False),
    "gelu": (F.gelu, _gelu, False),
}


class ActivationInTorch(Translation[Activation], of=Activation):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return self._function[0](inputs[0])

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        function, derivative, is_from_output = self._function

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            y = function(x)
            kept = y if is_from_output else x
            return y, lambda gradient: ((derivative(gradient, kept),), ())

        return forward

    @property
    def _function(self) -> _Function:
        if (slope := self.layer.slope) is None:
            return _FUNCTIONS[self.layer.function]
        return lambda x: F.leaky_relu(x, slope), lambda gradient, x: _leaky_relu(gradient, x, slope, False), False


class AddInTorch(Translation[Add], of=Add):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0] + inputs[1]

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return lambda x, other: (x + other, lambda gradient: ((gradient, gradient), ()))


class MultiplyInTorch(Translation[Multiply], of=Multiply):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0] * inputs[1]

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        def forward(image: Tensor, factor: Tensor) -> tuple[Tensor, Backward]:
            def backward(gradient: Tensor) -> Gradients:
                of_image, of_factor = wanted.inputs
                return (
                    gradient * factor if of_image else None,
                    (gradient * image).sum_to_size(factor.shape) if of_factor else None,
                ), ()

            return image * factor, backward

        return forward


class DropoutInTorch(Translation[Dropout], of=Dropout):
    takes_mask = True

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0] if masks is None else inputs[0] * masks[self.layer.name]

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return lambda x, mask: (x * mask, lambda gradient: ((gradient * mask,), ()))
