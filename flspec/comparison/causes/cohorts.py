"""Causes in who takes part, in what each client counts, and in which batches it trains on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.comparison.causes.base import AlteredPlan, Scene, with_cohort
from flspec.protocol.plan import ClientTask, Plan

__all__ = [
    "BatchRepeated",
    "BatchSkipped",
    "ClientLeftOut",
    "ExampleWeights",
    "OtherRound",
    "PartialBatches",
    "UniformWeights",
]

_MOST_BATCHES = 8  # of which each may be the one that is repeated
_MOST_CLIENTS = 20  # of which each may be the one that is left out


class _Tasks(AlteredPlan):
    """A cause that changes each task by itself: that which differs, if one is known, or all."""

    def change(self, task: ClientTask, tasks: Sequence[ClientTask]) -> ClientTask:
        """Return the task as it would be carried out."""
        raise NotImplementedError

    def altered(self, scene: Scene) -> Iterator[Plan]:
        tasks = scene.cohort
        for chosen in ([scene.position] if scene.position is not None else []), range(len(tasks)):
            changed = [self.change(t, tasks) if place in chosen else t for place, t in enumerate(tasks)]
            if any(after is not task for after, task in zip(changed, tasks, strict=True)):
                yield with_cohort(scene.plan, scene.number, changed)


class UniformWeights(_Tasks):
    name, words = "uniform weights", "clients count alike in the mean, whatever weights they were given"

    def change(self, task: ClientTask, tasks: Sequence[ClientTask]) -> ClientTask:
        return task if len({one.weight for one in tasks}) == 1 else replace(task, weight=1)


class ExampleWeights(_Tasks):
    name, words = "weights by examples", "clients count by the examples that they train on"

    def change(self, task: ClientTask, tasks: Sequence[ClientTask]) -> ClientTask:
        return task if task.weight == task.num_trained else replace(task, weight=max(1, task.num_trained))


class PartialBatches(_Tasks):
    name, words = "partial batch dropped", "batches that are not full are left out"

    def change(self, task: ClientTask, tasks: Sequence[ClientTask]) -> ClientTask:
        full = max((len(batch) for one in tasks for batch in one.batches), default=0)
        kept = tuple(batch for batch in task.batches if len(batch) == full)
        return replace(task, batches=kept) if 0 < len(kept) < len(task.batches) else task


class BatchSkipped(AlteredPlan):
    name, words = "batch skipped", "the first or the last batch of a task is left out"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        yield from _Batches(lambda batches: batches[:-1]).altered(scene)
        yield from _Batches(lambda batches: batches[1:]).altered(scene)


class BatchRepeated(AlteredPlan):
    name, words = "batch repeated", "a batch is used twice, in place of the one after it"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        longest = max((len(task.batches) for task in scene.cohort), default=0)
        for place in range(1, min(_MOST_BATCHES, longest)):
            yield from _Batches(partial(_repeated, place)).altered(scene)
        yield from _Batches(lambda batches: [*batches, batches[-1]]).altered(scene)


class OtherRound(AlteredPlan):
    name, words = "cohort of another round", "rounds are counted from another number, so another round's cohort trains"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        last = scene.plan.num_rounds
        for other in dict.fromkeys((scene.number % last + 1, (scene.number - 2) % last + 1)):
            if other != scene.number:
                yield with_cohort(scene.plan, scene.number, scene.plan.cohort(other))


class ClientLeftOut(AlteredPlan):
    name, words = "client left out", "a client's update is not in the mean"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        tasks = scene.cohort
        for place in range(len(tasks)) if 1 < len(tasks) <= _MOST_CLIENTS else ():
            yield with_cohort(scene.plan, scene.number, [*tasks[:place], *tasks[place + 1 :]])


Batches = Sequence[NDArray[np.integer[Any]]]


class _Batches(_Tasks):
    """A task with other batches, made of its own in one way."""

    def __init__(self, way: Callable[[Batches], Batches]) -> None:
        self.way = way

    def change(self, task: ClientTask, tasks: Sequence[ClientTask]) -> ClientTask:
        batches = tuple(self.way(list(task.batches)))
        return replace(task, batches=batches) if batches and len(task.batches) > 1 else task


def _repeated(place: int, batches: Batches) -> Batches:
    return [*batches[:place], batches[place - 1], *batches[place + 1 :]]
