"""Conversion of tensors between the plan's layout, which is torch's, and TensorFlow's.

TensorFlow holds images channels last, [height, width, channels], and multiplies a dense layer from the right:

    dense         [units, features]                   -> [features, units]
    convolution   [out, in, height, width]            -> [height, width, in, out]
    per channel   [channels]                          -> [channels]

The conversion only reorders values, so it is exact. It applies to everything with a tensor's shape: the weight, its
gradient, a slot of an optimizer. A flatten gives torch's order in TensorFlow too; see layers.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_from_tensorflow", "all_to_tensorflow", "channels_last", "from_tensorflow", "to_tensorflow"]

Array = NDArray[Any]

# By number of axes: the plan's axes in TensorFlow's order.
_AXES: dict[int, tuple[int, ...]] = {0: (), 1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def to_tensorflow(tensor: Array) -> Array:
    """Convert a model's tensor to TensorFlow's layout."""
    return np.asarray(tensor.transpose(_AXES[tensor.ndim]), order="C")


def from_tensorflow(tensor: Array) -> Array:
    """Invert `to_tensorflow`."""
    return np.asarray(tensor.transpose(np.argsort(_AXES[tensor.ndim]).tolist()), order="C")


def all_to_tensorflow(tensors: Mapping[str, Array]) -> tuple[Array, ...]:
    """Convert tensors by name to TensorFlow's layout, in their order."""
    return tuple(to_tensorflow(tensor) for tensor in tensors.values())


def all_from_tensorflow(names: Sequence[str], tensors: Sequence[Array]) -> dict[str, Array]:
    """Invert `all_to_tensorflow`."""
    return {name: from_tensorflow(np.asarray(tensor)) for name, tensor in zip(names, tensors, strict=True)}


def channels_last(examples: Array) -> Array:
    """Convert examples [num, channels, height, width] to [num, height, width, channels]; others are unchanged."""
    return np.ascontiguousarray(examples.transpose(0, 2, 3, 1)) if examples.ndim == 4 else examples
