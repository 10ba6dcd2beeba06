"""Layers of sequences: [steps] of token numbers become [steps, features], and these become [features]."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import PositiveInt

from flspec.layers.base import BaseLayer, Shape, Tensor, expect_rank
from flspec.layers.initializers import Initializer, Normal, Uniform

__all__ = ["Embedding", "Gru", "LastStep", "Lstm", "MeanStep", "Recurrent"]

_STEPS = "[steps, features]"


class Embedding(BaseLayer):
    """The row of `weight` [tokens, features] for each token number from 0: [steps] to [steps, features]."""

    kind: Literal["embedding"] = "embedding"
    tokens: PositiveInt
    features: PositiveInt
    initializer: Initializer = Normal(std=1.0)

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=1, meaning="[steps] of token numbers")
        return (*shape, self.features)

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {"weight": Tensor((self.tokens, self.features), self.initializer)}

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return 0


class Recurrent(BaseLayer):
    """Layers whose state h [units] goes from step to step of an example. It starts at zero for each example.

    Tensors have torch's names, layouts and initial values: U(-1 / sqrt(units), 1 / sqrt(units)). `gates` blocks of
    `units` rows each follow one another in them.
    """

    gates: ClassVar[int]
    units: PositiveInt

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=2, meaning=_STEPS)
        return (shape[0], self.units)

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        rows, start = self.gates * self.units, Uniform(bound=1.0 / math.sqrt(self.units))
        return {
            "weight_ih": Tensor((rows, shape[1]), start),
            "weight_hh": Tensor((rows, self.units), start),
            "bias_ih": Tensor((rows,), start),
            "bias_hh": Tensor((rows,), start),
        }

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return output[0] * sum(math.prod(tensor.shape) for tensor in self.parameters(shape).values())

    def inner_values(self, output: Shape) -> int:
        """Count what a step's gates are given, and some seven values a unit that its gradient needs."""
        return (self.gates + 7) * math.prod(output)


class Lstm(Recurrent):
    """Hochreiter and Schmidhuber, 1997, with a forget gate, as torch has it. For each step, with s the sigmoid:

    [i, f, g, o] = W_ih x + b_ih + W_hh h + b_hh, in this order; c = s(f) c + s(i) tanh(g); h = s(o) tanh(c).
    The output of a step is h. c starts at zero, too.
    """

    gates: ClassVar[int] = 4
    kind: Literal["lstm"] = "lstm"


class Gru(Recurrent):
    """Cho et al., EMNLP 2014, as torch has it. For each step, with s the sigmoid:

    [r, z, n] = W_ih x + b_ih and [r', z', n'] = W_hh h + b_hh, in this order;
    u = s(z + z'); h = (1 - u) tanh(n + s(r + r') n') + u h. The output of a step is h.
    """

    gates: ClassVar[int] = 3
    kind: Literal["gru"] = "gru"


class _OverSteps(BaseLayer):
    """[steps, features] to [features].

    Where a second input gives the token numbers [steps], only as many steps count as these have numbers other than 0,
    at least one, from the first on: 0 is padding, which stands behind a text.
    """

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=2, meaning=_STEPS)
        if others not in ((), ((shape[0],),)):
            raise ValueError(
                f"layer {self.name!r} takes {_STEPS} and may take token numbers [steps], not "
                f"{[list(s) for s in (shape, *others)]}"
            )
        return (shape[1],)


class LastStep(_OverSteps):
    """The features of the last step that counts."""

    kind: Literal["last_step"] = "last_step"


class MeanStep(_OverSteps):
    """The mean of the features over the steps that count."""

    kind: Literal["mean_step"] = "mean_step"
