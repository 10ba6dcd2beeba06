"""Linear layers in torch: dense, convolution and its transpose, and flatten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.layers import Conv, Dense, Flatten, TransposedConv
from flspec_torch.layers.base import Backward, Gradients, Masks, Tensors, Translation, Vjp, Wanted

__all__: list[str] = []

_convolution = torch.ops.aten.convolution.default
_convolution_backward = torch.ops.aten.convolution_backward.default


class FlattenInTorch(Translation[Flatten], of=Flatten):
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return inputs[0].flatten(1)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            return x.flatten(1), lambda gradient: ((gradient.reshape(x.shape),), ())

        return forward


class DenseInTorch(Translation[Dense], of=Dense):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return F.linear(inputs[0], self.own(tensors, "weight"), self.own(tensors, "bias"))

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        weight, bias = self.own(tensors, "weight"), self.own(tensors, "bias")
        transposed, (wants_input,), (wants_weight, wants_bias) = weight.t(), wanted.inputs, wanted.learned

        def forward(x: Tensor) -> tuple[Tensor, Backward]:
            def backward(gradient: Tensor) -> Gradients:
                return (torch.mm(gradient, weight) if wants_input else None,), (
                    torch.mm(gradient.t(), x) if wants_weight else None,
                    gradient.sum(0) if wants_bias else None,
                )

            return torch.addmm(bias, x, transposed), backward

        return forward if len(self.inputs[0]) == 1 else _of_each_step(forward)


def _of_each_step(forward: Vjp) -> Vjp:
    """Return the function of [batch, steps, features] from that of [rows, features]."""

    def of_steps(x: Tensor) -> tuple[Tensor, Backward]:
        y, backward = forward(x.reshape(-1, x.shape[-1]))

        def backward_of_steps(gradient: Tensor) -> Gradients:
            (of_input,), learned = backward(gradient.reshape(y.shape))
            return (None if of_input is None else of_input.view(x.shape),), learned

        return y.view(*x.shape[:-1], y.shape[-1]), backward_of_steps

    return of_steps


class ConvInTorch(Translation[Conv], of=Conv):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        layer, bias = self.layer, tensors.get(self.layer.tensor_name("bias"))
        weight = self.own(tensors, "weight")
        return F.conv2d(inputs[0], weight, bias, layer.stride, layer.padding, groups=layer.groups)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return _convolving(self, tensors, wanted, is_transposed=False, groups=self.layer.groups)


class TransposedConvInTorch(Translation[TransposedConv], of=TransposedConv):
    learns = ("weight", "bias")

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        layer, bias = self.layer, tensors.get(self.layer.tensor_name("bias"))
        return F.conv_transpose2d(inputs[0], self.own(tensors, "weight"), bias, layer.stride, layer.padding)

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        return _convolving(self, tensors, wanted, is_transposed=True, groups=1)


def _convolving(
    of: ConvInTorch | TransposedConvInTorch, tensors: Tensors, wanted: Wanted, is_transposed: bool, groups: int
) -> Vjp:
    weight, bias = of.own(tensors, "weight"), tensors.get(of.layer.tensor_name("bias"))
    stride, padding, nothing = [of.layer.stride] * 2, [of.layer.padding] * 2, [0, 0]
    settings: tuple[Any, ...] = (stride, padding, [1, 1], is_transposed, nothing, groups)
    wants = [*wanted.inputs, wanted.learned[0], bias is not None and wanted.learned[1]]
    sizes = None if bias is None else list(bias.shape)

    def forward(x: Tensor) -> tuple[Tensor, Backward]:
        def backward(gradient: Tensor) -> Gradients:
            of_input, of_weight, of_bias = _convolution_backward(gradient, x, weight, sizes, *settings, wants)
            return (of_input,), (of_weight, of_bias)

        return _convolution(x, weight, bias, *settings), backward

    return forward
