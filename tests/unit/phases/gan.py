"""A generative network pair of dense layers, and the phases that train it, for tests."""

from __future__ import annotations

from typing import Any

from flspec.layers import Activation, Dense, Network, chain
from flspec.phases import Call, Draw, Phase, Sample, Term

PICTURE, LATENT = (6,), (3,)
PLAYERS = {"generator": ("generator",), "discriminator": ("discriminator",)}


def networks() -> dict[str, Network]:
    made = chain(
        [Dense(name="a", units=5), Activation(name="r", function="tanh"), Dense(name="out", units=6)], "latent"
    )
    judged = chain([Dense(name="a", units=4), Activation(name="r", function="tanh"), Dense(name="score", units=1)], "x")
    return {
        "generator": Network("generator", {"latent": LATENT}, made),
        "discriminator": Network("discriminator", {"x": PICTURE}, judged),
    }


def call(value: str, network: str, detached: bool = False, **inputs: str) -> Call:
    return Call(value=value, network=network, inputs=inputs, detached=detached)


def discriminator_phase(**changes: Any) -> Phase:
    fields: dict[str, Any] = {
        "name": "discriminator",
        "draws": {"latent": Draw(shape=LATENT)},
        "calls": (
            call("on_real", "discriminator", x="real"),
            call("fake", "generator", latent="latent"),
            call("on_fake", "discriminator", detached=True, x="fake"),
        ),
        "terms": (Term(kind="logistic", of="on_real", real=True), Term(kind="logistic", of="on_fake", real=False)),
        "optimizer": "discriminator",
    }
    return Phase(**(fields | changes))


def generator_phase(**changes: Any) -> Phase:
    fields: dict[str, Any] = {
        "name": "generator",
        "calls": (call("judged", "discriminator", x="fake"),),
        "terms": (Term(kind="logistic", of="judged", real=True),),
        "optimizer": "generator",
    }
    return Phase(**(fields | changes))


def sample(**changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "draws": {"latent": Draw(shape=LATENT)},
        "calls": (call("fake", "generator", latent="latent"),),
        "picture": "fake",
    }
    return Sample(**(fields | changes))
