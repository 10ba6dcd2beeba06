"""Torch's passes and gradients of a graph, beside what `numpy_layers` gives for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flspec.layers import Layer, one_network
from flspec_torch.model import build_forward
from tests import numpy_layers

Arrays = Mapping[str, NDArray[Any]]


def largest_deviation(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """In parts of the largest expected value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def torch_pass(
    layers: Sequence[Layer], tensors: Arrays, inputs: NDArray[Any], masks: Arrays | None, dtype: torch.dtype
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Outputs, and all tensors after the pass."""
    held = as_torch(tensors, dtype)
    given = None if masks is None else as_torch(masks, dtype)
    outputs = build_forward(one_network(layers, inputs.shape[1:]))(held, torch.tensor(inputs, dtype=dtype), given)
    return outputs.numpy(), {name: value.numpy() for name, value in held.items()}


@dataclass(frozen=True)
class Gradients:
    """Torch's gradients in float64 of sum(outputs * cotangent), and the numpy pass that they must be derivatives of."""

    layers: Sequence[Layer]
    at: Arrays  # the tensors, and `input`
    masks: Arrays | None
    cotangent: NDArray[Any]
    found: Arrays  # of each tensor that is no statistic, and of `input`

    def error_along(self, direction: Arrays, step: float = 1e-6) -> float:
        """How far g . d is from (f(x + h d) - f(x - h d)) / 2h for a step h, in parts of the norm of g.

        It is some 1e-16 / h by rounding, h^2 by the step, and more where the step crosses the kink of a relu.
        """
        ahead, behind = (
            numpy_layers.forward(self.layers, moved, moved["input"], self.masks).outputs
            for sign in (1, -1)
            for moved in [{**self.at, **{name: self.at[name] + sign * step * d for name, d in direction.items()}}]
        )
        derivative = ((ahead - behind) * self.cotangent).sum() / (2 * step)
        along = sum((self.found[name] * d).sum() for name, d in direction.items())
        norm = sum((self.found[name] ** 2).sum() for name in direction) ** 0.5
        return float(abs(along - derivative) / norm)

    def directions(self) -> Arrays:
        """A random direction for each."""
        rng = np.random.default_rng(6)
        return {name: rng.standard_normal(self.at[name].shape) for name in self.found}

    def spoiled(self, name: str, share: float) -> Gradients:
        """The same with one gradient off by a share of itself."""
        return replace(self, found={**self.found, name: self.found[name] * (1 + share)})


def torch_gradients(
    layers: Sequence[Layer],
    tensors: Arrays,
    inputs: NDArray[Any],
    masks: Arrays | None,
    translated: tuple[Sequence[Layer], Arrays] | None = None,
) -> Gradients:
    """The gradients with respect to each tensor that is no statistic, and to `input`, for a random cotangent.

    `translated` are other layers and tensors that torch gets, to show that this is seen.
    """
    given_layers, given_tensors = translated or (layers, tensors)
    held = as_torch(given_tensors, torch.float64)
    x = torch.tensor(inputs, dtype=torch.float64, requires_grad=True)
    learned = {name: value.requires_grad_() for name, value in held.items() if "running" not in name}
    outputs = build_forward(one_network(given_layers, inputs.shape[1:]))(
        held, x, None if masks is None else as_torch(masks, torch.float64)
    )
    cotangent = np.random.default_rng(5).standard_normal(outputs.shape)
    found = torch.autograd.grad(outputs, [*learned.values(), x], torch.from_numpy(cotangent), materialize_grads=True)
    return Gradients(
        layers=layers,
        at={"input": inputs.astype(np.float64)} | {name: value.astype(np.float64) for name, value in tensors.items()},
        masks=masks,
        cotangent=cotangent,
        found=dict(zip([*learned, "input"], (gradient.numpy() for gradient in found), strict=True)),
    )


def as_torch(arrays: Arrays, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=dtype) for name, value in arrays.items()}


def check_gradients_of_single_examples(
    forward: Any, tensors: Mapping[str, torch.Tensor], tokens: torch.Tensor, rtol: float, atol: float
) -> None:
    """Hold `vmap`'s gradients of a batch of token numbers, [batch, steps], to those of one example after the other."""

    def loss(weights: Mapping[str, torch.Tensor], of_one: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = forward(weights, of_one.unsqueeze(0), None).square().sum()
        return summed

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(tensors, tokens)
    for row, of_one in enumerate(tokens):
        for name, gradient in torch.func.grad(loss)(tensors, of_one).items():
            torch.testing.assert_close(each[name][row], gradient, rtol=rtol, atol=atol)
