"""Layers that scale their input to mean 0 and variance 1, channel by channel, group by group or step by step."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.layers.base import BaseLayer, Placement, Shape, Tensor, expect_rank
from flspec.layers.initializers import Initializer

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm"]

Epsilon = Annotated[float, Field(gt=0, le=1)]  # added to the variance, inside the root


class GroupNorm(BaseLayer):
    """Wu and He, ECCV 2018: y = (x - mean) / sqrt(var + epsilon) * weight + bias.

    Mean and variance (divided by n, not n - 1) are taken for each example over the channels of one of `groups` groups
    and all their pixels. There is one weight and one bias for each channel.
    """

    kind: Literal["group_norm"] = "group_norm"
    groups: PositiveInt
    epsilon: Epsilon = 1e-5

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        if shape[0] % self.groups:
            raise ValueError(f"layer {self.name!r} cannot split {shape[0]} channels into {self.groups} groups")
        return shape

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {"weight": Tensor((shape[0],), "ones"), "bias": Tensor((shape[0],), "zeros")}


class BatchNorm(BaseLayer):
    """Ioffe and Szegedy, ICML 2015: y = (x - mean) / sqrt(var + epsilon) * weight + bias, for each channel.

    With `frozen` statistics, mean and variance are constants, also in training. Otherwise training uses those of the
    batch (variance divided by n) and updates running ones, with which the model is evaluated:
    running <- (1 - momentum) * running + momentum * batch's, where the batch's variance is divided by n - 1.
    With `averaged`, the server averages the running statistics like weights, without a server optimizer. With `local`,
    they stay with each client, with the layer's weight and bias, which is FedBN (Li et al., ICLR 2021).
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {"initializer": "ones"}

    kind: Literal["batch_norm"] = "batch_norm"
    statistics: Literal["frozen", "averaged", "local"]
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    epsilon: Epsilon = 1e-5
    initializer: Initializer = "ones"  # of the weight; the bias starts at zero

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=3, meaning="[channels, height, width]")
        return shape

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        placements: dict[str, tuple[Placement, Placement]] = {  # of weight and bias; of the statistics
            "frozen": ("server", "plan"),
            "averaged": ("server", "server"),
            "local": ("client", "client"),
        }
        learned, kept = placements[self.statistics]
        size = (shape[0],)
        return {
            "weight": Tensor(size, self.initializer, placement=learned),
            "bias": Tensor(size, "zeros", placement=learned),
            "running_mean": Tensor(size, "zeros", is_learned=False, placement=kept),
            "running_var": Tensor(size, "ones", is_learned=False, placement=kept),
        }


class LayerNorm(BaseLayer):
    """Ba, Kiros and Hinton, 2016, arXiv:1607.06450: y = (x - mean) / sqrt(var + epsilon) * weight + bias.

    Mean and variance (divided by n, not n - 1) are over the features of an example, [features], or of each step alone,
    [steps, features]. There is one weight and one bias for each feature.
    """

    kind: Literal["layer_norm"] = "layer_norm"
    epsilon: Epsilon = 1e-5

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape[-1:] if len(shape) == 2 else shape, rank=1, meaning="[features] or [steps, features]")
        return shape

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {"weight": Tensor((shape[-1],), "ones"), "bias": Tensor((shape[-1],), "zeros")}

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return 2 * math.prod(output)
