"""The tensors a model starts with: drawn, or read from a file by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.layers import Parameter, initial_tensors
from flspec.models import Model
from flspec.randomness import Stream

__all__ = ["start_tensors"]


def start_tensors(
    model: Model, parameters: Mapping[str, Parameter], root: Path, stream: Stream
) -> dict[str, NDArray[np.float32]]:
    """Every tensor of `parameters` before any training."""
    return initial_tensors(parameters, stream)
