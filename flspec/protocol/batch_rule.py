"""What a task's batches follow from, and how: the one definition, for plans that hold batches and those that do not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flspec.core.randomness import Stream

__all__ = ["BatchRule", "DrawnBatches", "of_task", "poisson_batch"]

Integers = NDArray[np.int64]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class BatchRule:
    """How a client's examples become the batches of a task. Every draw has a stream of the task's own.

    Of more than `max_examples`, so many are chosen. Each of `epochs` passes over what is chosen, in a new order with
    `shuffle`, is cut into batches of `batch_size`, of which the last may be smaller; with `batch_across_epochs` only
    the last of all. After `steps` batches it ends; without `epochs` there are always so many. With `by_coins` there
    are no passes: each example is in each batch with probability batch_size / examples, as accountants assume.
    """

    batch_size: int
    seed: int
    epochs: int | None = None
    steps: int | None = None
    max_examples: int | None = None
    shuffle: bool = True
    batch_across_epochs: bool = False
    by_coins: bool = False
    first: str = ""  # SHA-256 of the batches of a plan's first task, so that who draws others refuses the plan

    def num_used(self, num_examples: ArrayLike) -> Integers:
        """Return how many of so many examples a task uses at most; of a pooled client, of each part."""
        return np.asarray(num_examples if self.max_examples is None else np.minimum(num_examples, self.max_examples))

    def num_steps(self, num_used: ArrayLike) -> Integers:
        """Return the number of batches of a task that uses so many examples."""
        used, most = np.asarray(num_used), np.iinfo(np.int64).max if self.steps is None else self.steps
        if self.epochs is None:
            return np.full_like(used, most)
        if self.batch_across_epochs:
            return np.asarray(np.minimum(-(-(self.epochs * used) // self.batch_size), most))
        return np.asarray(np.minimum(self.epochs * -(-used // self.batch_size), most))

    def most_trained(self, num_used: ArrayLike) -> Integers:
        """Return how many examples the batches of a task have together at most, each once per use."""
        used = np.asarray(num_used)
        steps, an_epoch = self.num_steps(used), -(-used // self.batch_size)
        if self.by_coins:
            return np.asarray(steps * np.minimum(used, self.most_by_coins))
        if self.batch_across_epochs:
            most = steps * self.batch_size
            return most if self.epochs is None else np.asarray(np.minimum(most, self.epochs * used))
        return np.asarray(steps // an_epoch * used + steps % an_epoch * self.batch_size)

    def batch_sizes(self, num_used: int) -> set[int]:
        """Return the sizes that a task's batches have; with `by_coins`, those that they may have."""
        if self.by_coins:
            return set(range(min(num_used, self.most_by_coins) + 1))
        if not self.batch_across_epochs:
            rest = num_used % self.batch_size
            has_rest = rest and self.num_steps(num_used) >= -(-num_used // self.batch_size)
            return {size for size in (min(num_used, self.batch_size), rest if has_rest else 0) if size}
        whole, rest = divmod(int(self.most_trained(num_used)), self.batch_size)
        return {size for size in (self.batch_size if whole else 0, rest) if size}

    @property
    def most_by_coins(self) -> int:
        """A size that a batch by coins exceeds with probability 1e-20 at most.

        Bernstein's inequality: of a sum of coins with expectation b, P(sum >= b + t) <= exp(-t^2 / (2 b + 2 t / 3)).
        """
        exponent = 20 * math.log(10)
        third = exponent / 3
        return self.batch_size + math.ceil(third + math.sqrt(third**2 + 2 * exponent * self.batch_size))

    def batches(self, parts: Sequence[Indices], stream: Stream) -> Iterator[Indices]:
        """Yield the examples of each training step of a task whose draws are from `stream`.

        `parts` are its client's examples: one part, or of a pooled client those of each client that is pooled in it.
        """
        if self.by_coins:
            return self._by_coins(np.concatenate(parts), stream.child("poisson"))
        chosen, is_pooled = stream.child("chosen"), len(parts) > 1
        used = np.concatenate(
            [self._chosen(part, chosen.child(n) if is_pooled else chosen) for n, part in enumerate(parts)]
        )
        passes = (
            used[stream.child(number).permutation(len(used))] if self.shuffle else used
            for number in (itertools.count() if self.epochs is None else range(self.epochs))
        )
        size = self.batch_size
        runs = [_run_on(passes, self.steps and self.steps * size)] if self.batch_across_epochs else passes
        batches = (run[start : start + size] for run in runs for start in range(0, len(run), size))
        return itertools.islice(batches, self.steps)

    def _chosen(self, examples: Indices, stream: Stream) -> Indices:
        """Return at most `max_examples` of the examples: a random choice with `shuffle`, else the first ones."""
        if len(examples) <= (most := int(self.num_used(len(examples)))):
            return examples
        return (examples[stream.permutation(len(examples))] if self.shuffle else examples)[:most]

    def _by_coins(self, examples: Indices, stream: Stream) -> Iterator[Indices]:
        """Yield the batch of each step: any of the examples, expected batch_size, maybe none."""
        for number in range(int(self.num_steps(len(examples)))):
            yield poisson_batch(self.batch_size, examples, stream.child(number))


class DrawnBatches(Sequence[Indices]):
    """The batches of one task, drawn when the first of them is asked for."""

    def __init__(self, rule: BatchRule, parts: Sequence[Indices], task: tuple[int, int, int], num: int) -> None:
        self._rule, self._parts, self._task, self._num = rule, parts, task, num  # round, client, repeat
        self._drawn: tuple[Indices, ...] | None = None

    def __len__(self) -> int:
        return self._num

    @overload
    def __getitem__(self, place: int) -> Indices: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Indices, ...]: ...
    def __getitem__(self, place: int | slice) -> Indices | tuple[Indices, ...]:
        return self._all()[place]

    def __iter__(self) -> Iterator[Indices]:
        return iter(self._all())

    def _all(self) -> tuple[Indices, ...]:
        if self._drawn is None:
            stream = of_task(Stream(self._rule.seed), "batches", *self._task)
            self._drawn = tuple(self._rule.batches(self._parts, stream))
        return self._drawn


def poisson_batch(expected: float, examples: Indices, stream: Stream) -> Indices:
    """Return a batch into which each example comes by a coin of its own, so many in expectation."""
    return np.asarray(examples[stream.uniform(len(examples)) < expected / len(examples)])


def of_task(root: Stream, use: str, number: int, client: int, repeat: int) -> Stream:
    """Return the stream of one task in round `number`: a client that is drawn again has other batches."""
    first = root.child(use, number, client)
    return first.child("repeat", repeat) if repeat else first


def _run_on(orders: Iterator[Indices], num: int | None) -> Indices:
    """Return the epochs' examples one after the other, cut to the first `num`. With None there must be a last epoch."""
    passes: list[Indices] = []
    while num is None or sum(map(len, passes)) < num:
        if (order := next(orders, None)) is None:
            break
        passes.append(order)
    return np.concatenate(passes)[:num]
