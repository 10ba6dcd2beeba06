"""What the published networks share: their blocks of layers, by torchvision's names, so that its weights load."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from flspec.layers import Activation, BatchNorm, Conv, Dropout, Layer

__all__ = ["Policy", "PolicyIfAny", "Rate", "batch_norm_policy_missing", "conv_norm", "dropout", "freeze"]

_POLICY = (
    "what becomes of batch norm's statistics: they never change; the server averages them like weights; or they stay "
    "with each client, with their weight and bias (FedBN)"
)
Policy = Annotated[Literal["frozen", "averaged", "local"], Field(description=_POLICY)]
PolicyIfAny = Annotated[Literal["frozen", "averaged", "local"] | None, Field(description=_POLICY)]
Rate = Annotated[float, Field(ge=0, le=0.999)]  # 0: there is no such layer


def conv_norm(
    name: str,
    channels: int,
    kernel_size: int,
    statistics: Policy,
    function: Literal["relu6", "silu"] | None = None,
    stride: int = 1,
    groups: int = 1,
) -> list[Layer]:
    """`NAME.0`, a convolution without bias that keeps an image's size up to its stride; `NAME.1`, its batch norm;
    and `NAME.2`, the activation, where there is one."""
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
    """The dropout of that rate, if it drops anything."""
    return [Dropout(name=name, rate=rate, drops=drops)] if rate else []


def freeze(layers: Iterable[Layer]) -> list[Layer]:
    """The same layers with their tensors as constants."""
    has_tensors = ("conv", "batch_norm", "dense", "group_norm")
    return [layer.model_copy(update={"frozen": True}) if layer.kind in has_tensors else layer for layer in layers]


def batch_norm_policy_missing(wanted: str) -> ValueError:
    """Why a policy of batch norm cannot be left out with `wanted`: each of the three is another experiment."""
    return ValueError(
        f"{wanted} trains batch norm, whose statistics need a rule: add batch_norm: averaged, local (FedBN) or frozen"
    )
