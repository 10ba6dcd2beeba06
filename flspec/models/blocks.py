"""Blocks of layers that published networks share. They have torchvision's names, so that its weights can be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from flspec.layers import Activation, BatchNorm, Conv, Dropout, Layer

__all__ = ["Policy", "PolicyIfAny", "Rate", "batch_norm_policy_missing", "conv_norm", "dropout", "freeze"]

_POLICY = (
    "rule for batch norm's statistics: frozen, they never change; averaged by the server like weights; or local, they "
    "stay with each client, with their weight and bias (FedBN)"
)
Policy = Annotated[Literal["frozen", "averaged", "local"], Field(description=_POLICY)]
PolicyIfAny = Annotated[Literal["frozen", "averaged", "local"] | None, Field(description=_POLICY)]
Rate = Annotated[float, Field(ge=0, le=0.999)]  # 0: the layer is left out


def conv_norm(
    name: str,
    channels: int,
    kernel_size: int,
    statistics: Policy,
    function: Literal["relu6", "silu"] | None = None,
    stride: int = 1,
    groups: int = 1,
) -> list[Layer]:
    """Return `NAME.0`, a convolution without bias that keeps an image's size up to its stride; `NAME.1`, its batch
    norm; and `NAME.2`, the activation, if there is one."""
    return [
        Conv(
            name=f"{name}.0",
            channels=channels,
            kernel_size=kernel_size,
            padding=kernel_size // 2,
            stride=stride,
            groups=groups,
            bias=False,
            initializer="he_normal",
        ),
        BatchNorm(name=f"{name}.1", statistics=statistics),
        *([Activation(name=f"{name}.2", function=function)] if function else []),
    ]


def dropout(name: str, rate: float, drops: Literal["value", "example"] = "value") -> list[Dropout]:
    """Return a dropout layer of that rate, or none if the rate is 0."""
    return [Dropout(name=name, rate=rate, drops=drops)] if rate else []


def freeze(layers: Iterable[Layer]) -> list[Layer]:
    """Return the same layers with their tensors as constants."""
    return [layer.model_copy(update={"frozen": True}) if layer.has_tensors else layer for layer in layers]


def batch_norm_policy_missing(wanted: str) -> ValueError:
    """Return the error that `wanted` needs a batch norm policy. Each of the three is another experiment."""
    return ValueError(
        f"{wanted} trains batch norm, whose statistics need a rule: add batch_norm: averaged, local (FedBN) or frozen"
    )
