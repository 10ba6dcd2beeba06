"""What phases draw, from one planned seed: every engine gets the same numbers, and none draws for itself.

Each draw has a stream of its own, so a new one never shifts another. Values are float64 rounded to float32, since the
last bits of normal values may differ between versions of SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.layers import Network, draw_masks
from flspec.phases.documents import Call, Draw, Phase, Sample

__all__ = ["draws_of_sample", "draws_of_step", "masks_of_call", "takes_place"]

Drawn = dict[str, NDArray[np.float32]]  # by name, [rows, *shape]


def takes_place(phase: Phase, number: int) -> bool:
    """Return whether a phase takes place in step `number` of a task, from 0."""
    return number % phase.every == 0


def draws_of_step(phases: Sequence[Phase], number: int, rows: int, stream: Stream) -> dict[str, Drawn]:
    """Return what the phases of a step draw, by phase: of those that take place in step `number` of the task.

    `rows` is the number of examples of the batch, and `stream` the step's, `flspec.data.examples.step_stream`.
    """
    return {
        phase.name: {name: _draw(draw, rows, stream.child(phase.name, name)) for name, draw in phase.draws.items()}
        for phase in phases
        if takes_place(phase, number)
    }


def masks_of_call(network: Network, phase: Phase, call: Call, rows: int, stream: Stream) -> Drawn:
    """Return the factors of each dropout layer in one call, by the layer's name; empty without dropout."""
    return draw_masks(network, rows, stream.child(phase.name, call.value))


def draws_of_sample(sample: Sample, num: int, seed: int) -> Drawn:
    """Return what `num` pictures are made of, from a planned seed. More of them begin with the same ones."""
    return {name: _draw(draw, num, Stream(seed, "sample", name)) for name, draw in sample.draws.items()}


def _draw(draw: Draw, rows: int, stream: Stream) -> NDArray[np.float32]:
    count = rows * math.prod(draw.shape)
    values = stream.normal(count) if draw.kind == "normal" else stream.uniform(count)
    return values.reshape(rows, *draw.shape).astype(np.float32)
