"""Batches of private steps: each example is in each batch by a coin of its own, which is what accountants assume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flspec.core.randomness import Stream
from flspec.spec.spec import ClientWork

__all__ = ["num_poisson_steps", "poisson_batch", "poisson_batches"]

Integers = NDArray[np.int64]
N = TypeVar("N", int, Integers)


def num_poisson_steps(work: ClientWork, num_examples: N) -> N:
    """Return the number of steps in a round of clients with so many examples."""
    if work.steps:
        return num_examples * 0 + work.steps
    return (work.epochs or 1) * -(-num_examples // work.batch_size)


def poisson_batches(work: ClientWork, examples: Integers, stream: Stream) -> Iterator[Integers]:
    """Yield the batch of each step of a client in a round: any of its examples, expected batch_size, maybe none."""
    for number in range(num_poisson_steps(work, len(examples))):
        yield poisson_batch(work.batch_size, examples, stream.child(number))


def poisson_batch(expected: float, examples: Integers, stream: Stream) -> Integers:
    """Return a batch into which each example comes by a coin of its own, so many in expectation."""
    return examples[stream.uniform(len(examples)) < expected / len(examples)]
