"""Deep convolutional generative adversarial network (Radford et al., ICLR 2016), as MetisFL's example has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from flspec.layers import (
    Activation,
    BatchNorm,
    Conv,
    Flatten,
    Layer,
    Network,
    Normal,
    Shape,
    TransposedConv,
    chain,
)
from flspec.models.base import Model
from flspec.models.blocks import Policy

_KERNEL, _SMALLEST = 4, 8  # pixels: of all kernels, and of the smallest pictures
_WEIGHTS, _SCALES = Normal(std=0.02), Normal(mean=1.0, std=0.02)  # Section 4; batch norm's as in the usual code
_SLOPE = 0.2  # of leaky ReLUs, Section 4
_ALIKE: dict[str, Any] = {"kernel_size": _KERNEL, "bias": False, "initializer": _WEIGHTS}  # of every convolution


class Dcgan(Model):
    """A generator of transposed convolutions and a discriminator of convolutions, each step by a factor of two.

    The discriminator gives a logit, which the objective turns into a probability. 3,576,704 and 2,765,568 parameters
    for pictures of 3 x 64 x 64, of which the networks' names are those of the usual code: `generator.main.0.weight`.
    """

    network_names: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    head_layers: ClassVar[tuple[str, ...]] = ()
    goes_with: ClassVar[dict[str, Any]] = {"client": {"objective": {"kind": "gan"}}}

    kind: Literal["dcgan"] = "dcgan"
    latent: Annotated[PositiveInt, Field(description="length of the random vector that a picture is made of")] = 100
    width: Annotated[
        PositiveInt, Field(description="channels where pictures are largest; they double where these halve")
    ] = 64
    batch_norm: Policy = Field(examples=["averaged"])

    def networks(self, input_shape: Shape, num_outputs: int) -> Mapping[str, Network]:
        widths = [self.width * 2**number for number in range(_num_halvings(input_shape))]
        generator = chain(self._generator(widths[::-1], input_shape[0]), "latent")
        discriminator = chain(self._discriminator(widths), "image")
        return {
            "generator": Network("generator", {"latent": (self.latent, 1, 1)}, generator),
            "discriminator": Network("discriminator", {"image": input_shape}, discriminator),
        }

    def _generator(self, widths: list[int], num_colours: int) -> list[Layer]:
        """Return [latent, 1, 1] to 4 x 4 pixels, and from there doublings; only the last has no batch norm."""
        layers: list[Layer] = []
        for number, channels in enumerate(widths):
            how = {"stride": 2, "padding": 1} if number else {"stride": 1, "padding": 0}
            layers += [
                _enlarge(f"main.{3 * number}", channels, **how),
                self._norm(f"main.{3 * number + 1}"),
                Activation(name=f"main.{3 * number + 2}", function="relu"),
            ]
        end = len(layers)
        return [
            *layers,
            _enlarge(f"main.{end}", num_colours, stride=2, padding=1),
            Activation(name=f"main.{end + 1}", function="tanh"),
        ]

    def _discriminator(self, widths: list[int]) -> list[Layer]:
        """Return halvings to 4 x 4 pixels, and from there one number; only the first and last have no batch norm."""
        layers: list[Layer] = []
        for channels in widths:
            layers.append(_shrink(f"main.{len(layers)}", channels, stride=2, padding=1))
            if len(layers) > 1:
                layers.append(self._norm(f"main.{len(layers)}"))
            layers.append(Activation(name=f"main.{len(layers)}", function="leaky_relu", slope=_SLOPE))
        return [*layers, _shrink(f"main.{len(layers)}", 1, stride=1, padding=0), Flatten(name="flatten")]

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(name=name, statistics=self.batch_norm, initializer=_SCALES)


def _num_halvings(input_shape: Shape) -> int:
    """Return how often a picture is halved down to 4 x 4 pixels. Raises ValueError if it is of another size."""
    side = input_shape[-1]
    halvings = side.bit_length() - _KERNEL.bit_length()
    if len(input_shape) != 3 or input_shape[1] != side or side < _SMALLEST or side != _KERNEL * 2**halvings:
        raise ValueError("dcgan makes square pictures of 8, 16, 32, 64, ... pixels; set dataset.size to one of these")
    return halvings


def _enlarge(name: str, channels: int, stride: int, padding: int) -> TransposedConv:
    return TransposedConv(name=name, channels=channels, stride=stride, padding=padding, **_ALIKE)


def _shrink(name: str, channels: int, stride: int, padding: int) -> Conv:
    return Conv(name=name, channels=channels, stride=stride, padding=padding, **_ALIKE)
