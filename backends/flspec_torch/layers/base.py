"""The translation of a layer, and how the one of a layer's kind is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from flspec.layers import BaseLayer, Shape

__all__ = ["Backward", "Gradients", "Masks", "Tensors", "Translation", "Vjp", "Wanted", "translate"]

Tensors = Mapping[str, Tensor]  # of a network, by LAYER.SUFFIX
Masks = Mapping[str, Tensor]  # the factors of each dropout, by the layer's name
# Of the inputs, and of the tensors that `Translation.learns` names: a tensor each, or None where it is not wanted.
Gradients = tuple[Sequence[Any], Sequence[Any]]
Backward = Callable[[Tensor], Gradients]  # of the output
# The inputs, [batch, ...] each -> the output in training, and its backward.
Vjp = Callable[..., tuple[Tensor, Backward]]

L = TypeVar("L", bound=BaseLayer)
_TRANSLATIONS: dict[type[BaseLayer], type[Translation[Any]]] = {}


@dataclass(frozen=True)
class Wanted:
    """Of which inputs of a layer, and of which tensors that it learns, the gradient is wanted. Others may be None."""

    inputs: tuple[bool, ...]
    learned: tuple[bool, ...]


class Translation(ABC, Generic[L]):
    """A layer in torch. `class DenseInTorch(Translation[Dense], of=Dense)` is that of each dense layer."""

    learns: ClassVar[tuple[str, ...]] = ()  # the suffixes of the tensors of which `vjp` gives the gradient
    takes_mask: ClassVar[bool] = False  # whether `vjp`'s function takes the layer's mask, after its inputs

    def __init_subclass__(cls, of: type[BaseLayer] | None = None) -> None:
        if of is not None:
            _TRANSLATIONS[of] = cls

    def __init__(self, layer: L, inputs: Sequence[Shape]) -> None:
        """`inputs` are the shapes of one example of each."""
        self.layer, self.inputs = layer, inputs

    @abstractmethod
    def __call__(self, tensors: Tensors, inputs: Sequence[Tensor], masks: Masks | None) -> Tensor:
        """Return the output, differentiable by autograd. `masks` is None in evaluation."""

    def vjp(self, tensors: Tensors, wanted: Wanted) -> Vjp:
        """Return the function of inputs in training that also gives its vector-Jacobian product.

        Both call the kernels that autograd calls, in its order, so that all bits are the same. `tensors` keep their
        memory while the function is used, but not their values. Gradients are new tensors or views of the given one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    @property
    def has_vjp(self) -> bool:
        """Whether `vjp` is written out. Without it, the whole network goes through autograd."""
        return type(self).vjp is not Translation.vjp

    def own(self, tensors: Tensors, suffix: str) -> Tensor:
        """Return one of the layer's tensors."""
        return tensors[self.layer.tensor_name(suffix)]


def translate(layer: BaseLayer, inputs: Sequence[Shape]) -> Translation[Any]:
    """Return the translation of a layer whose inputs have these shapes. Raises ValueError if its kind has none."""
    for kind in type(layer).__mro__:
        if kind in _TRANSLATIONS:
            return _TRANSLATIONS[kind](layer, inputs)
    raise ValueError(f"no torch translation for layer {layer!r}")
