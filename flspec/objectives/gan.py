"""The objective of a generative adversarial network: Goodfellow et al., NeurIPS 2014, arXiv:1406.2661."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from flspec.layers import Network
from flspec.objectives.base import Objective
from flspec.phases import REAL, Call, Draw, Phase, Sample, Term

_Kind = Literal["logistic", "hinge", "least_squares", "wasserstein"]
# Of each loss: the terms of the discriminator and of the generator, and their factor.
_TERMS: dict[str, tuple[_Kind, _Kind, float]] = {
    "logistic": ("logistic", "logistic", 1.0),
    "hinge": ("hinge", "wasserstein", 1.0),
    "least_squares": ("least_squares", "least_squares", 0.5),
}


class Gan(Objective):
    """A discriminator learns to tell real pictures from generated ones, then a generator to have its own judged real.

    Both steps of a batch are of the same generated pictures, as many as are real, and the generator is judged by the
    discriminator after its step. The losses: logistic, the non-saturating one of Goodfellow et al., Section 3; hinge,
    Lim and Ye, arXiv:1705.02894; least_squares, Mao et al., ICCV 2017, Eq. (9).
    """

    kind: Literal["gan"] = "gan"
    network_names: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    goes_with: ClassVar[dict[str, Any]] = {"model": {"kind": "dcgan"}}

    loss: Annotated[
        Literal["logistic", "hinge", "least_squares"],
        Field(description="what a discriminator's score costs"),
    ] = "logistic"

    def phases(self, networks: Mapping[str, Network]) -> tuple[Phase, ...]:
        of_discriminator, of_generator, factor = _TERMS[self.loss]
        return (
            Phase(
                name="discriminator",
                draws=_draws(networks),
                calls=(
                    _judgement("on_real", REAL, networks),
                    _picture(networks),
                    _judgement("on_fake", "fake", networks, detached=True),
                ),
                terms=(
                    Term(kind=of_discriminator, of="on_real", real=True, factor=factor),
                    Term(kind=of_discriminator, of="on_fake", real=False, factor=factor),
                ),
                optimizer="discriminator",
            ),
            Phase(
                name="generator",
                calls=(_judgement("judged", "fake", networks),),
                terms=(Term(kind=of_generator, of="judged", real=True, factor=factor),),
                optimizer="generator",
            ),
        )

    def sample(self, networks: Mapping[str, Network]) -> Sample:
        return Sample(draws=_draws(networks), calls=(_picture(networks),), picture="fake")


def _draws(networks: Mapping[str, Network]) -> dict[str, Draw]:
    ((latent, shape),) = networks["generator"].inputs.items()
    return {latent: Draw(shape=shape)}


def _picture(networks: Mapping[str, Network]) -> Call:
    (latent,) = networks["generator"].inputs
    return Call(value="fake", network="generator", inputs={latent: latent})


def _judgement(value: str, of: str, networks: Mapping[str, Network], detached: bool = False) -> Call:
    (image,) = networks["discriminator"].inputs
    return Call(value=value, network="discriminator", inputs={image: of}, detached=detached)
