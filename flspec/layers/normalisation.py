"""Layers that scale their input to mean 0 and variance 1, channel by channel or group by group."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from flspec.layers.base import BaseLayer, Placement, Shape, Tensor, expect_rank

__all__ = ["BatchNorm", "GroupNorm"]

Epsilon = Annotated[float, Field(gt=0, le=1)]  # added to the variance, inside the root


class GroupNorm(BaseLayer):
    """Wu and He, ECCV 2018: y = (x - mean) / sqrt(var + epsilon) * weight + bias.

    Mean and variance (divided by their number) are over each example's channels of one of `groups` groups and all
    their pixels; weight and bias are a channel each.
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
    """Ioffe and Szegedy, ICML 2015: y = (x - mean) / sqrt(var + epsilon) * weight + bias, a channel each.

    With `frozen` statistics mean and variance are constants, in training too. Otherwise training takes them from the
    batch (variance divided by its number) and keeps running ones, by which the model is evaluated:
    running <- (1 - momentum) * running + momentum * batch's, whose variance is divided by its number less one there.
    What is kept is `averaged` by the server with the weights, without any server optimizer; or it and the layer's
    weight and bias are `local`, which is FedBN (Li et al., ICLR 2021).
    """

    kind: Literal["batch_norm"] = "batch_norm"
    statistics: Literal["frozen", "averaged", "local"]
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    epsilon: Epsilon = 1e-5

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
            "weight": Tensor(size, "ones", placement=learned),
            "bias": Tensor(size, "zeros", placement=learned),
            "running_mean": Tensor(size, "zeros", is_learned=False, placement=kept),
            "running_var": Tensor(size, "ones", is_learned=False, placement=kept),
        }
