"""A convolutional network of planned random weights: features that need no download."""

from __future__ import annotations

from typing import Literal

from flspec.features.base import FeatureSpace
from flspec.layers import Activation, AveragePool, Conv, Flatten, GlobalAveragePool, Layer, Shape, chain

__all__ = ["RandomConv"]

_CHANNELS = (16, 32, 64)


class RandomConv(FeatureSpace):
    """Three convolutions of random weights, the same in every experiment, each with a ReLU and a 2x2 mean; 64 features.

    They notice colours, noise, repetition and missing classes, and hardly blur, which image_precision sees.
    """

    kind: Literal["random_conv"] = "random_conv"

    @property
    def title(self) -> str:
        return "random_conv"

    def layers(self, shape: Shape) -> tuple[Layer, ...]:
        graph: list[Layer] = []
        for number, channels in enumerate(_CHANNELS):
            graph += [
                Conv(
                    name=f"conv{number}",
                    channels=channels,
                    kernel_size=3,
                    padding=1,
                    bias=False,
                    initializer="he_normal",
                ),
                Activation(name=f"relu{number}", function="relu"),
                AveragePool(name=f"mean{number}", size=2),
            ]
        return chain([*graph, GlobalAveragePool(name="means"), Flatten(name="flatten")])
