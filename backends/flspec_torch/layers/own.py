"""Somebody's torch module, and layers that bring their own translation. Their derivatives are autograd's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from flspec.layers import OwnLayer, Shape, TorchModule
from flspec_torch.layers.base import Masks, Tensors, Translation
from flspec_torch.own_layer import translate_own
from flspec_torch.own_module import build_module

__all__: list[str] = []


class ModuleInTorch(Translation[TorchModule], of=TorchModule):
    def __init__(self, layer: TorchModule, inputs: Sequence[Shape]) -> None:
        super().__init__(layer, inputs)
        self._apply = build_module(layer)

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return self._apply(tensors, inputs, masks)


class OwnLayerInTorch(Translation[OwnLayer], of=OwnLayer):
    def __init__(self, layer: OwnLayer, inputs: Sequence[Shape]) -> None:
        super().__init__(layer, inputs)
        self._apply = translate_own(layer, inputs)

    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        return self._apply(tensors, inputs, masks)
