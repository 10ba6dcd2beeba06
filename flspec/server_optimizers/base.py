"""The interface of a server optimizer: from the combined update to the next weights.

Reddi et al., Adaptive Federated Optimization, ICLR 2021, https://arxiv.org/abs/2003.00295: the combined client update,
Delta, is treated as the negative of a gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.protocol.state import OptimizerState, Weights
from flspec.protocol.updates import Delta

__all__ = ["Array", "ServerOptimizer"]

Array = NDArray[np.float64]


class ServerOptimizer(Component, ABC):
    """A rule for the server's step, computed in float64 and stored in float32."""

    @abstractmethod
    def initial_slots(self) -> dict[str, float]:
        """Return the optimizer's slots by name, each with the value that all its entries start with."""

    @abstractmethod
    def step(self, number: int, delta: Array, slots: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Return what update `number` (from 1) adds to one weight tensor, and the tensor's slots after it."""

    def initialize(self, weights: Weights) -> OptimizerState:
        """Return the state before the first update."""
        slots = {
            slot: {name: np.full_like(weight, start) for name, weight in weights.items()}
            for slot, start in self.initial_slots().items()
        }
        return OptimizerState(step=0, slots=slots)

    def apply(
        self, state: OptimizerState, weights: Weights, delta: Delta, rate: float = 1.0
    ) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
        """Return the optimizer's state and the weights after one more update; `rate` multiplies its learning rate."""
        next_weights: dict[str, NDArray[np.float32]] = {}
        next_slots: dict[str, dict[str, NDArray[np.float32]]] = {slot: {} for slot in state.slots}
        for name, weight in weights.items():
            before = {slot: values[name].astype(np.float64) for slot, values in state.slots.items()}
            with np.errstate(over="ignore"):  # an overflow becomes infinite, and its round is then refused
                change, after = self.step(state.step + 1, delta[name], before)
                _check_shapes(name, weight, {"change": change, **after})
                next_weights[name] = (weight + rate * change).astype(np.float32)
                next_slots_of_name = {slot: value.astype(np.float32) for slot, value in after.items()}
            for slot, value in next_slots_of_name.items():
                next_slots[slot][name] = value
        return OptimizerState(state.step + 1, next_slots), next_weights


def _check_shapes(name: str, weight: NDArray[np.float32], given: Mapping[str, Array]) -> None:
    """Raise ValueError for a result of `step` that numpy would broadcast."""
    for what, value in given.items():
        if np.shape(value) != weight.shape:
            raise ValueError(f"step gave {name} a {what} of shape {list(np.shape(value))}, not {list(weight.shape)}")
