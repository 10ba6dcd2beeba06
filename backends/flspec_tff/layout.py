"""The exact map between the plan's layout of every tensor, which is torch's, and TensorFlow's.

TensorFlow holds images channels last, [height, width, channels], and multiplies a dense layer from the right:

    dense         [units, features]                   -> [features, units]
    convolution   [out, in, height, width]            -> [height, width, in, out]
    one a channel [channels]                          -> [channels]

The map only reorders, so it is its own proof of exactness, and it holds for whatever has a tensor's shape: the weight,
its gradient, a slot of an optimizer. What a flatten joins has torch's order in TensorFlow too; see model.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_from_tensorflow", "all_to_tensorflow", "channels_last", "from_tensorflow", "to_tensorflow"]

Array = NDArray[Any]

_AXES = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}  # by the number of a tensor's axes: the plan's in TensorFlow's order


def to_tensorflow(tensor: Array) -> Array:
    """A model's tensor as TensorFlow holds it."""
    return np.ascontiguousarray(tensor.transpose(_AXES[tensor.ndim]))


def from_tensorflow(tensor: Array) -> Array:
    """The inverse of `to_tensorflow`."""
    return np.ascontiguousarray(tensor.transpose(np.argsort(_AXES[tensor.ndim])))


def all_to_tensorflow(tensors: Mapping[str, Array]) -> tuple[Array, ...]:
    """Tensors by name as TensorFlow holds them, in their order."""
    return tuple(to_tensorflow(tensor) for tensor in tensors.values())


def all_from_tensorflow(names: Sequence[str], tensors: Sequence[Array]) -> dict[str, Array]:
    """The inverse of `all_to_tensorflow`."""
    return {name: from_tensorflow(np.asarray(tensor)) for name, tensor in zip(names, tensors, strict=True)}


def channels_last(examples: Array) -> Array:
    """Examples [num, channels, height, width] as [num, height, width, channels]; others as they are."""
    return np.ascontiguousarray(examples.transpose(0, 2, 3, 1)) if examples.ndim == 4 else examples
