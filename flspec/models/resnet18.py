"""Residual network of 18 layers (He et al., CVPR 2016), with group norm, as FLAIR uses it, or batch norm."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from flspec.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GlobalAveragePool,
    GroupNorm,
    Layer,
    MaxPool,
    Shape,
    chain,
)
from flspec.models.base import Model
from flspec.models.blocks import PolicyIfAny, batch_norm_policy_missing

_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, and the stride of the first of a stage's two blocks


class ResNet18(Model):
    """Residual blocks, with group norm or batch norm (He et al., Table 1, 18 layers).

    11,689,512 parameters with 1,000 outputs, 11,185,233 with 17, with either norm. Convolutions start He normal,
    the dense layer Glorot uniform. Names are those of torchvision's `resnet18`.
    """

    omitted: ClassVar[dict[str, Any]] = Model.omitted | {"batch_norm": None}
    head_layers: ClassVar[tuple[str, ...]] = ("fc",)

    kind: Literal["resnet18"] = "resnet18"
    norm: Annotated[
        Literal["group", "batch"],
        Field(description="group norm; or batch norm, which published weights have and which needs batch_norm"),
    ] = "group"
    groups: Annotated[PositiveInt, Field(description="groups of group norm, at most one for each channel")] = 32
    batch_norm: PolicyIfAny = None

    @model_validator(mode="after")
    def _names_one_norm(self) -> ResNet18:
        if self.norm == "batch" and self.batch_norm is None:
            raise batch_norm_policy_missing("norm: batch")
        if self.norm == "group" and self.batch_norm is not None:
            raise ValueError(f"batch_norm: {self.batch_norm} contradicts norm: group; set norm: batch, or leave it out")
        if self.norm == "batch" and self.groups != 32:
            raise ValueError(f"groups: {self.groups} contradicts norm: batch; set norm: group, or leave it out")
        return self

    def layers(self, input_shape: Shape, num_outputs: int) -> tuple[Layer, ...]:
        graph: list[Layer] = [
            _conv("conv1", 64, kernel_size=7, stride=2),
            self._norm("bn1", 64),
            Activation(name="relu", function="relu"),
            MaxPool(name="maxpool", size=3, stride=2, padding=1),
        ]
        for stage, (channels, stride) in enumerate(_STAGES, start=1):
            graph += self._block(f"layer{stage}.0", graph[-1].name, channels, stride)
            graph += self._block(f"layer{stage}.1", graph[-1].name, channels, stride=1)
        graph += [
            GlobalAveragePool(name="avgpool"),
            Flatten(name="flatten"),
            Dense(name="fc", units=num_outputs),
        ]
        return chain(graph)

    def _block(self, name: str, source: str, channels: int, stride: int) -> list[Layer]:
        """Build relu(F(x) + x), with a 1x1 convolution of x if F makes it smaller (He et al., Eq. (1) and (2))."""
        residual = [
            _conv(f"{name}.conv1", channels, kernel_size=3, stride=stride),
            self._norm(f"{name}.bn1", channels),
            Activation(name=f"{name}.relu1", function="relu"),
            _conv(f"{name}.conv2", channels, kernel_size=3),
            self._norm(f"{name}.bn2", channels),
        ]
        projection = [
            _conv(f"{name}.downsample.0", channels, kernel_size=1, stride=stride),
            self._norm(f"{name}.downsample.1", channels),
        ]
        shortcut = projection if stride > 1 else []
        return [
            *chain(residual, source),
            *chain(shortcut, source),
            Add(name=f"{name}.add", inputs=(residual[-1].name, shortcut[-1].name if shortcut else source)),
            Activation(name=f"{name}.relu2", function="relu", inputs=(f"{name}.add",)),
        ]

    def _norm(self, name: str, channels: int) -> Layer:
        if self.batch_norm:
            return BatchNorm(name=name, statistics=self.batch_norm)
        return GroupNorm(name=name, groups=min(self.groups, channels))


def _conv(name: str, channels: int, kernel_size: int, stride: int = 1) -> Conv:
    return Conv(
        name=name,
        channels=channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        stride=stride,
        bias=False,
        initializer="he_normal",
    )
