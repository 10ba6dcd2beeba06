"""Layers of transformers over [steps, features]: learned positions, and attention of several heads."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from flspec.layers.base import BaseLayer, Shape, Tensor, expect_rank
from flspec.layers.initializers import Initializer, Normal

__all__ = ["Attention", "Positions"]

_STEPS = "[steps, features]"


class Positions(BaseLayer):
    """x + `weight` [steps, features]: what is learned of each place in a text is added to it."""

    kind: Literal["positions"] = "positions"
    initializer: Initializer = Normal(std=0.02)

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=2, meaning=_STEPS)
        return shape

    def parameters(self, shape: Shape) -> dict[str, Tensor]:
        return {"weight": Tensor(shape, self.initializer)}

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        return 0


class Attention(BaseLayer):
    """Vaswani et al., NeurIPS 2017, Eq. (1), for each of `heads` heads: [steps, 3 width] to [steps, width].

    The features of a step are those of its query, its key and its value, in this order, `width` of each, and of each
    the first `size` = width / heads are the first head's. With s = 1 / sqrt(size), step i of a head gives
    sum_j softmax_j(s q_i . k_j) v_j, over the steps j up to i where it is `causal`, else over all. The heads' outputs
    follow one another. The dense layers before and after it are layers of their own. A bias of the keys changes
    nothing, as it adds the same to all scores of a step: its gradient is rounding, of which Adam may make whole steps.

    Where a second input gives the token numbers [steps], j runs over those alone that count (see `MeanStep`).
    """

    omitted: ClassVar[dict[str, Any]] = BaseLayer.omitted | {"causal": False}

    kind: Literal["attention"] = "attention"
    heads: PositiveInt
    causal: bool = False

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        expect_rank(self, shape, rank=2, meaning="[steps, 3 width]")
        if others not in ((), ((shape[0],),)):
            raise ValueError(
                f"layer {self.name!r} takes [steps, 3 width] and may take token numbers [steps], not "
                f"{[list(s) for s in (shape, *others)]}"
            )
        if shape[1] % (3 * self.heads):
            raise ValueError(
                f"layer {self.name!r} cannot split {shape[1]} features into query, key and value of {self.heads} heads"
            )
        return (shape[0], shape[1] // 3)

    def count_multiply_adds(self, shape: Shape, output: Shape) -> int:
        """Count each query times each key, and each weight times its value."""
        steps, width = output
        return 2 * steps * steps * width

    def inner_values(self, output: Shape) -> int:
        """Count the weights of each pair of steps, before and after the softmax, and copies of query, key, value."""
        steps, width = output
        return 2 * self.heads * steps * steps + 3 * steps * width
