"""The interface of a server optimizer: from the combined update to the next weights.

Reddi et al., Adaptive Federated Optimization, ICLR 2021, https://arxiv.org/abs/2003.00295: the combined client update,
Delta, is treated as the negative of a gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import Component
from flspec.core.threads import map_on_cores
from flspec.protocol.state import OptimizerState, Weights
from flspec.protocol.updates import Delta

__all__ = ["Array", "ServerOptimizer"]

Array = NDArray[np.float64]
_BLOCK = 2**14  # entries of a piece: of twice as many, Adam takes and gives back memory all the time


class ServerOptimizer(Component, ABC):
    """A rule for the server's step, computed in float64 and stored in float32."""

    # Whether `step` works on each entry by itself, so that it may be given pieces of a tensor, [num_entries]. A class
    # says it of itself: what is derived from it may look at a whole tensor.
    is_elementwise: ClassVar[bool] = False

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
        """Return the optimizer's state and the weights after one more update; `rate` multiplies its learning rate.

        A rule of each entry by itself takes large tensors in pieces, on several cores: what it makes of a piece stays
        near a core, where as much as several whole tensors in float64 would be new memory.
        """
        stepped = {name: np.empty(weight.shape, np.float32) for name, weight in weights.items()}
        slots = {slot: {name: np.empty_like(value) for name, value in stepped.items()} for slot in state.slots}

        def step(piece: _Piece) -> None:
            before = {slot: piece.of(values).astype(np.float64) for slot, values in state.slots.items()}
            weight = piece.of(weights)
            with np.errstate(over="ignore"):  # an overflow becomes infinite, and its round is then refused
                change, after = self.step(state.step + 1, piece.of(delta), before)
                _check_shapes(piece.name, weight, {"change": change, **after})
                piece.of(stepped)[...] = weight + rate * change
                for slot, value in after.items():
                    piece.of(slots[slot])[...] = value

        pieces = [piece for name, weight in weights.items() for piece in self._pieces(name, weight.size)]
        map_on_cores(step, pieces, sum(weight.size for weight in weights.values()))
        return OptimizerState(state.step + 1, slots), stepped

    @property
    def takes_pieces(self) -> bool:
        """Whether large tensors step in pieces: its own class says that it is elementwise."""
        return bool(vars(type(self)).get("is_elementwise", False))

    def _pieces(self, name: str, size: int) -> list[_Piece]:
        if not self.takes_pieces:
            return [_Piece(name)]
        return [_Piece(name, slice(start, start + _BLOCK)) for start in range(0, size, _BLOCK)]


@dataclass(frozen=True)
class _Piece:
    """A tensor, or some of its entries in their order."""

    name: str
    entries: slice | None = None

    def of(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the piece of one of several tensors; a view of one whose entries lie in their order."""
        tensor = tensors[self.name]
        return tensor if self.entries is None else tensor.reshape(-1)[self.entries]


def _check_shapes(name: str, weight: NDArray[np.float32], given: Mapping[str, Array]) -> None:
    """Raise ValueError for a result of `step` that numpy would broadcast."""
    for what, value in given.items():
        if np.shape(value) != weight.shape:
            raise ValueError(f"step gave {name} a {what} of shape {list(np.shape(value))}, not {list(weight.shape)}")
