"""A layer that brings its own torch translation, as a function of named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from flspec.execution.part_checks import PartCall
from flspec.layers import OwnLayer, Shape
from flspec_torch.own_module import check_output, without_draws

__all__ = ["translate_own"]


def translate_own(
    layer: OwnLayer, inputs: Sequence[Shape]
) -> Callable[[Mapping[str, Tensor], Sequence[Tensor], Mapping[str, Tensor] | None], Tensor]:
    """Return the function from a network's tensors, the layer's inputs of these shapes, and in training the masks."""
    names = {suffix: layer.tensor_name(suffix) for suffix in layer.parameters(inputs[0])}
    output, call = layer.output_shape(*inputs), PartCall("model", layer, "torch", way_out="repair it there")

    def apply(tensors: Mapping[str, Tensor], given: Sequence[Tensor], masks: Mapping[str, Tensor] | None) -> Tensor:
        own = {suffix: tensors[name] for suffix, name in names.items()}
        with without_draws(call, masks is not None), call.guarded():
            value = layer.torch(own, tuple(given), masks is not None)
        return check_output(call, value, (len(given[0]), *output))

    return apply
