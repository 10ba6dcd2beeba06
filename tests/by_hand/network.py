"""A model's loss and its gradient, from the definitions of its layers and nothing else.

The gradient is taken by complex steps: d f / d w = Im f(w + ih) / h is exact to rounding for an analytic f, since no
difference is formed (Squire and Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions", SIAM Review
1998). So there is no rule for going backwards that could be wrong in the same way twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.layers import Layer
from tests.numpy_layers import forward

Tensors = Mapping[str, NDArray[Any]]
_H = 1e-40


def outputs(layers: Sequence[Layer], tensors: Tensors, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """As in evaluation: with running statistics."""
    return np.asarray(forward(layers, tensors, x).outputs)


def costs(scores: NDArray[Any], labels: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """The cross entropy of each example: log sum_k exp(z_k) - z_y."""
    shifted = scores - scores.real.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels])


def step(
    layers: Sequence[Layer],
    tensors: Tensors,
    learned: Iterable[str],
    x: NDArray[np.float64],
    labels: NDArray[np.integer[Any]],
) -> tuple[float, int, dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """A training step's mean loss, how many examples are right, the gradient, and the running statistics after it."""
    passed = forward(layers, tensors, x, masks={})
    right = int((passed.outputs.argmax(axis=1) == labels).sum())
    loss = float(costs(passed.outputs, labels).mean())

    def slope(name: str, position: tuple[int, ...]) -> float:
        moved = tensors[name].astype(np.complex128)
        moved[position] += 1j * _H
        scores = forward(layers, {**tensors, name: moved}, x, masks={}).outputs
        return float(costs(scores, labels).mean().imag / _H)

    gradient = {
        name: np.array([slope(name, at) for at in np.ndindex(tensors[name].shape)]).reshape(tensors[name].shape)
        for name in learned
    }
    return loss, right, gradient, dict(passed.statistics)
