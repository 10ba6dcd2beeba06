"""The pictures that a model makes, some at a time, since thousands would not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.execution.parts import sample_of
from flspec.phases import draws_of_sample
from flspec.protocol.plan import Plan
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import Weights
from flspec.quality.grids import as_bytes, is_picture

__all__ = ["as_pictures", "generated", "in_parts"]

_MOST_VALUES = 2**24  # of pictures at a time: 64 MiB in float32


def generated(plan: Plan, scorer: Scorer, weights: Weights, num: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the pictures that a model makes of what `seed` draws, as model inputs [some, *input_shape]."""
    sample = sample_of(plan)
    assert sample, "a plan whose model makes pictures says how they are made"
    drawn = draws_of_sample(sample, num, seed)
    for rows in in_parts(num, plan.settings.data.input_shape):
        yield scorer.pictures(weights, {name: values[rows] for name, values in drawn.items()})


def as_pictures(plan: Plan, values: NDArray[np.float32]) -> NDArray[Any]:
    """Return model inputs as bytes; what is no picture stays as it is."""
    data = plan.settings.data
    return as_bytes(values, data.mean, data.std) if is_picture(data.input_shape) else values


def in_parts(num: int, shape: Sequence[int]) -> list[slice]:
    """Cut a number of examples into parts that memory holds; always the same ones, since they may change last bits."""
    at_once = max(1, _MOST_VALUES // int(np.prod(shape)))
    return [slice(start, min(start + at_once, num)) for start in range(0, num, at_once)]
