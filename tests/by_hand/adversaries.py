"""A generator and a discriminator trained by hand: float64, from the definitions of layers, losses and Adam.

Nothing here knows of phases. Gradients are by complex steps, as in `tests.by_hand.network`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flspec.layers import Network
from tests.by_hand import draws
from tests.numpy_layers import forward

Array = NDArray[Any]
Tensors = dict[str, Array]
_H = 1e-40

# What somebody may get wrong, by name.
WRONG = (
    "the generator steps first",
    "both networks step at once",
    "fakes are not detached",
    "the discriminator's phase updates both networks",
    "statistics of the last judgement are not updated",
    "fakes are drawn anew for the generator",
    "one count of steps for both optimizers",
)


@dataclass
class Adam:
    """Kingma and Ba, ICLR 2015, Algorithm 1."""

    rate: float
    beta_1: float
    beta_2: float
    epsilon: float
    steps: int = 0
    first: Tensors = field(default_factory=dict)
    second: Tensors = field(default_factory=dict)

    def step(self, tensors: Tensors, gradient: Mapping[str, Array]) -> None:
        self.steps += 1
        for name, g in gradient.items():
            self.first[name] = self.beta_1 * self.first.get(name, 0.0) + (1 - self.beta_1) * g
            self.second[name] = self.beta_2 * self.second.get(name, 0.0) + (1 - self.beta_2) * g**2
            m = self.first[name] / (1 - self.beta_1**self.steps)
            v = self.second[name] / (1 - self.beta_2**self.steps)
            tensors[name] = tensors[name] - self.rate * m / (np.sqrt(v) + self.epsilon)


def softplus(z: Array) -> Array:
    return np.asarray(np.log1p(np.exp(z)))


class Adversaries:
    """Two networks with their tensors, as a client changes them."""

    def __init__(self, networks: Mapping[str, Network], tensors: Mapping[str, Array], adam: Mapping[str, Any]) -> None:
        self.networks = networks
        self.tensors: Tensors = {name: value.astype(np.float64) for name, value in tensors.items()}
        self.optimizers = {name: Adam(**adam) for name in networks}

    def run(self, name: str, x: Array, tensors: Tensors, updates: bool = False) -> Array:
        """A network's output in training; running statistics change only if it `updates`."""
        network = self.networks[name]
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        (given,) = network.inputs
        passed = forward(network.layers, own, {given: x}, masks={})
        if updates:
            self.tensors |= {f"{name}.{key}": value for key, value in passed.statistics.items()}
        return np.asarray(passed.outputs)

    def step(self, real: Array, latents: Array, wrong: str = "", again: Array | None = None) -> None:
        """One step of the discriminator, then one of the generator, on the same fakes."""
        before = dict(self.tensors)
        fake = self.run("generator", latents, self.tensors, updates=True)
        self.run("discriminator", real, self.tensors, updates=True)
        self.run("discriminator", fake, self.tensors, updates=True)

        def of_discriminator(tensors: Tensors) -> Array:
            on_fake = self.run("discriminator", fake, tensors)
            on_real = self.run("discriminator", real, tensors)
            return np.asarray(softplus(-on_real).mean() + softplus(on_fake).mean())

        def of_generator(tensors: Tensors) -> Array:
            made = self.run("generator", again if again is not None else latents, tensors)
            loss = softplus(-self.run("discriminator", made, tensors)).mean()
            if wrong == "fakes are not detached":
                loss = loss + softplus(self.run("discriminator", made, before | _of(tensors, "generator"))).mean()
            return np.asarray(loss)

        turns: list[tuple[str, Callable[[Tensors], Array]]] = [
            ("discriminator", of_discriminator),
            ("generator", of_generator),
        ]
        if wrong == "the generator steps first":
            turns.reverse()
        if wrong == "the discriminator's phase updates both networks":

            def of_both(tensors: Tensors) -> Array:
                made = self.run("generator", latents, tensors)
                return np.asarray(softplus(self.run("discriminator", made, tensors)).mean())

            self.optimizers["generator"].step(self.tensors, self.gradient("generator", of_both))
        if wrong == "both networks step at once":
            gradients = {name: self.gradient(name, loss) for name, loss in turns}
            for name, gradient in gradients.items():
                self.optimizers[name].step(self.tensors, gradient)
        else:
            for name, loss in turns:
                if wrong == "one count of steps for both optimizers":
                    self.optimizers[name].steps = max(one.steps for one in self.optimizers.values())
                gradient = self.gradient(name, loss)
                if name == "generator" and wrong != "statistics of the last judgement are not updated":
                    self.run("discriminator", fake, self.tensors, updates=True)
                self.optimizers[name].step(self.tensors, gradient)

    def gradient(self, network: str, loss: Callable[[Tensors], Array]) -> Tensors:
        """The loss's gradient with respect to what a network learns."""
        learned = [name for name in self.tensors if name.startswith(f"{network}.") and "running" not in name]
        return {name: self._slopes(name, loss) for name in learned}

    def _slopes(self, name: str, loss: Callable[[Tensors], Array]) -> Array:
        found = np.zeros(self.tensors[name].shape)
        for at in np.ndindex(found.shape):
            moved = self.tensors[name].astype(np.complex128)
            moved[at] += 1j * _H
            found[at] = loss({**self.tensors, name: moved}).imag / _H
        return found


def _of(tensors: Tensors, network: str) -> Tensors:
    return {name: value for name, value in tensors.items() if name.startswith(f"{network}.")}


def latents(shape: Iterable[int], rows: int, seed: int, number: int, phase: str = "discriminator") -> Array:
    """What step `number` of a task draws: float32 [rows, *shape], from the stream's definition."""
    whole = (rows, *shape)
    drawn = ndtri(draws.uniforms(int(np.prod(whole)), seed, "step", number, phase, "latent"))
    return np.asarray(drawn.reshape(whole).astype(np.float32), np.float64)
