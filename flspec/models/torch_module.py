"""Somebody's own torch module as the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from flspec.core.randomness import Stream
from flspec.core.tokens import Tokens
from flspec.errors import Problem, SpecError
from flspec.layers import INPUT, Layer, Network, Shape, Tensor, TorchModule
from flspec.models.base import TextModel
from flspec.models.blocks import PolicyIfAny
from flspec.protocol.registry import REFERENCE, find_backend

NAME = "module"  # of the one layer


class TorchModel(TextModel):
    """Any torch.nn.Module of yours, from inputs [batch, ...] to outputs [batch, outputs].

    Its class draws the initial weights, under the plan's seed. Parameters that do not require gradients, and buffers
    that training leaves alone, are in the plan and are never sent. Tensors keep the module's own names. Of texts it
    gets token numbers, as float32 [batch, steps].
    """

    omitted: ClassVar[dict[str, Any]] = TextModel.omitted | {"arguments": {}, "batch_norm": None}
    head_layers: ClassVar[tuple[str, ...]] = ()

    kind: Literal["torch"] = "torch"
    module: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
            max_length=500,
            description="the module's class, as MODULE:CLASS",
            examples=["my_parts:Net"],
            json_schema_extra={"patternErrorMessage": "MODULE:CLASS, as my_parts:Net"},
        ),
    ]
    arguments: Annotated[
        Mapping[str, JsonValue], Field(max_length=1000, description="what the class is called with, by name")
    ] = {}
    batch_norm: PolicyIfAny = None

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        return self._described(input_shape, num_outputs, None)

    def text_layers(self, tokens: Tokens, num_steps: int, num_outputs: int) -> tuple[Layer, ...]:
        return self._described((num_steps,), num_outputs, tokens)

    def _described(self, input_shape: Shape, num_outputs: int, tokens: Tokens | None) -> tuple[Layer, ...]:
        backend = find_backend(REFERENCE)
        layer = backend.describe_module(self.module, self.arguments, input_shape, self.batch_norm, tokens)
        assert layer is not None, "the backend that scores has torch"
        if layer.output != (num_outputs,):
            message = f"{self.module} gives outputs [batch, {', '.join(map(str, layer.output))}], but there should be "
            way_out = f"[batch, {num_outputs}] for these labels; change model.arguments or its last layer"
            raise SpecError([Problem(message + way_out, "model.module")])
        return (layer.model_copy(update={"name": NAME, "inputs": (INPUT,)}),)

    def initial_tensors(
        self, networks: Mapping[str, Network], parameters: Mapping[str, Tensor], stream: Stream
    ) -> dict[str, NDArray[np.float32]]:
        (layer,) = networks[""].layers
        assert isinstance(layer, TorchModule)
        seed = int(layer.seeds(1, stream.child(NAME))[0])
        drawn = find_backend(REFERENCE).module_tensors(layer, seed)
        return {name: drawn[name] for name in parameters}
