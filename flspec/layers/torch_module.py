"""A model that somebody wrote as a torch module: all that an experiment has to know of it, without torch."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from flspec.core.components import Document
from flspec.core.randomness import Stream
from flspec.layers.base import BaseLayer, Placement, Shape, Tensor

__all__ = ["ModuleTensor", "TorchModule"]


class ModuleTensor(Document):
    """One tensor of a module: a parameter, or a buffer of float32."""

    shape: Shape
    is_learned: bool
    placement: Placement


class TorchModule(BaseLayer):
    """A torch module as one layer. Its tensors keep the module's own names, without the layer's before them.

    A backend that has torch describes a module by running it: `flspec.protocol.backend.Backend.describe_module`.
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {
        "arguments": {},
        "still": (),
        "fixed": {},
        "counters": (),
        "unused_names": (),
        "names_in_files": {},
        "draws": False,
        "needs_two": False,
    }

    kind: Literal["torch_module"] = "torch_module"
    module: str  # MODULE:CLASS
    arguments: dict[str, JsonValue] = {}  # noqa: RUF012
    input: Shape
    output: Shape
    tensors: dict[str, ModuleTensor]
    still: tuple[str, ...] = ()  # modules that behave in training as in evaluation, because their statistics are frozen
    fixed: dict[str, str] = {}  # noqa: RUF012  # SHA-256 of each buffer of another type, as the class makes it
    counters: tuple[str, ...] = ()  # those of `fixed` that training counts up; each step starts them anew
    unused_names: tuple[str, ...] = ()  # names in its state dict of what is none of `tensors`, or is one of them again
    names_in_files: dict[str, str | None] = {}  # noqa: RUF012  # where not their own; None: in no file
    draws: bool = False  # whether it draws random numbers in training
    needs_two: bool = False  # whether a batch of one example cannot be trained on
    multiply_adds: int  # of a forward pass of one example, as torch counts them
    values: int  # of one example that its gradient needs, as measured

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        if shape != self.input:
            raise ValueError(f"{self.module} was described for {list(self.input)}, but its input is {list(shape)}")
        return self.output

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {
            name: Tensor(tensor.shape, "zeros", tensor.is_learned, tensor.placement)
            for name, tensor in self.tensors.items()
        }

    def tensor_name(self, suffix: str) -> str:
        return suffix

    def inner_values(self, output: Shape) -> int:
        return self.values

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return self.multiply_adds

    def seeds(self, num_examples: int, stream: Stream) -> NDArray[np.int64]:
        """Draw a seed for each example of a batch. A batch is computed with the first of them."""
        return (stream.words(num_examples) >> np.uint64(1)).astype(np.int64)
