"""A task's batches as tensors, read for some steps at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flspec.analysis.memory_estimate import MOST_INPUT_VALUES
from flspec.data.examples import Split, step_stream
from flspec.protocol.plan import ClientTask
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.stored_examples import StoredExamples, store_examples

__all__ = ["Batches", "Block"]

# Values of the inputs of a block of several steps: a megabyte, which a processor's cache holds; on a device a task.
_MOST_VALUES = 2**18


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive steps of a task."""

    numbers: range  # of the steps
    sizes: list[int]  # of their batches
    inputs: Sequence[Tensor]  # [batch, *input shape] of each, transformed
    labels: NDArray[Any]  # of all their examples, as stored: int64 [num], or uint8 [num, labels]


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of a split, on a device."""

    split: Split
    device: TorchDevice = HOST

    def blocks(self, task: ClientTask, numbers: range) -> Iterator[Block]:
        """Yield the steps of these numbers in blocks, as long as memory allows: one read for many small batches."""
        batches = task.batches[numbers.start : numbers.stop]
        most = max(map(len, batches), default=0) * math.prod(self.split.input_shape)
        length = max(1, (_MOST_VALUES if self.device.is_host else MOST_INPUT_VALUES) // max(1, most))
        for first in range(0, len(batches), length):
            some = range(numbers.start + first, numbers.start + min(first + length, len(batches)))
            yield self._block(task, some)

    def inputs(self, task: ClientTask, number: int) -> Tensor:
        """Return the transformed inputs of one step, [batch, *input shape]."""
        if self._stored:
            return self._read(task.batches[number])
        return self.device.put(self.split.inputs(task.batches[number], step_stream(task, number)))

    def _block(self, task: ClientTask, numbers: range) -> Block:
        batches = task.batches[numbers.start : numbers.stop]
        sizes, rows = [len(batch) for batch in batches], np.concatenate(batches)
        labels = np.asarray(self.split.labels)[rows]
        if self.split.transforms:  # whose random draws are those of each step
            return Block(numbers, sizes, [self.inputs(task, number) for number in numbers], labels)
        return Block(numbers, sizes, torch.split_with_sizes(self._read(rows), sizes), labels)

    def _read(self, rows: NDArray[Any]) -> Tensor:
        """Return the inputs of some examples, without transforms."""
        if self._stored:
            return self._stored.inputs(self.device.put(rows.astype(np.int64)))
        return self.device.put(self.split.inputs(rows))

    @cached_property
    def _stored(self) -> StoredExamples | None:
        return store_examples(self.split, self.device)
