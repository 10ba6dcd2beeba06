"""A task's batches as tensors, read for some steps at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.data.examples import Split, step_stream
from flspec.protocol.plan import ClientTask

__all__ = ["Block", "blocks_of", "inputs_of"]

_MOST_VALUES = 2**18  # of the inputs of a block of several steps: a megabyte, which a processor's cache holds


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive steps of a task."""

    numbers: range  # of the steps
    sizes: list[int]  # of their batches
    inputs: Sequence[Tensor]  # [batch, *input shape] of each, transformed
    labels: NDArray[Any]  # of all their examples, as stored: int64 [num], or uint8 [num, labels]


def blocks_of(split: Split, task: ClientTask, numbers: range) -> Iterator[Block]:
    """Yield the steps of these numbers in blocks, each as long as memory allows: one read for many small batches."""
    batches = task.batches[numbers.start : numbers.stop]
    most = max(map(len, batches), default=0) * math.prod(split.input_shape)
    length = max(1, _MOST_VALUES // max(1, most))
    for first in range(0, len(batches), length):
        some = range(numbers.start + first, numbers.start + min(first + length, len(batches)))
        yield _block(split, task, some)


def _block(split: Split, task: ClientTask, numbers: range) -> Block:
    batches = task.batches[numbers.start : numbers.stop]
    sizes, rows = [len(batch) for batch in batches], np.concatenate(batches)
    labels = np.asarray(split.labels)[rows]
    if split.transforms:  # whose random draws are those of each step
        return Block(numbers, sizes, [inputs_of(split, task, number) for number in numbers], labels)
    inputs = torch.split_with_sizes(torch.from_numpy(split.inputs(rows)), sizes)
    return Block(numbers, sizes, inputs, labels)


def inputs_of(split: Split, task: ClientTask, number: int) -> Tensor:
    """Return the transformed inputs of one step, [batch, *input shape]."""
    return torch.from_numpy(split.inputs(task.batches[number], step_stream(task, number)))
