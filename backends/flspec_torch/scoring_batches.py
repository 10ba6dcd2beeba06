"""How many examples are passed through a model together where it is only scored."""

from __future__ import annotations

from collections.abc import Sequence

from flspec.layers import Layer, Shape, count_values_at_once

__all__ = ["examples_at_once"]

_MOST_EXAMPLES = 500
_MOST_VALUES = 2**25  # float32, that layers make of them and need at once


def examples_at_once(layers: Sequence[Layer], input_shape: Shape) -> int:
    """As many as a bound on memory leaves; changes nothing else."""
    return max(1, min(_MOST_EXAMPLES, _MOST_VALUES // count_values_at_once(layers, input_shape)))
