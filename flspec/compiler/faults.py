"""Faults in a plan: which tasks they hit, which of these do not take place, and on which examples the others train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.components import named_part
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.errors import InputError, Problem, SpecError, shorten
from flspec.faults import ExampleFault, Fault, Loss
from flspec.protocol.plan import ClientTask

__all__ = ["PlannedFaults"]


class PlannedFaults:
    """The faults of a spec, as its rounds are planned one after the other; then the data that the plan is of.

    A task trains on changed examples by having batches of copies of them, which lie behind the data set's own. So every
    engine can train on them, and clients' own examples, their holdouts and what is said of both stay as they are. Of
    several faults that change a task's examples, the first does; of several that lose it, the earliest.
    """

    def __init__(self, faults: Sequence[Fault], examples: Data, num_clients: int, rounds: int, root: Stream) -> None:
        problems = [
            Problem(message, f"faults.{n}.{field}")
            for n, fault in enumerate(faults)
            for field, message in fault.why_invalid(num_clients, rounds)
        ]
        if problems:
            raise SpecError(problems)
        self._faults, self._num_clients = faults, num_clients
        self._streams = [root.child("faults", number) for number in range(len(faults))]
        self._log: list[tuple[int, int, int]] = []
        self._copies = _Copies(examples)

    def applied(self, number: int, tasks: Sequence[ClientTask]) -> Sequence[ClientTask]:
        """Return those of a round's tasks that take place, as faults have left them."""
        if not self._faults:
            return tasks
        hits = [
            fault.hits(number, self._num_clients, stream)
            for fault, stream in zip(self._faults, self._streams, strict=True)
        ]
        of_client = {task.client: [n for n, hit in enumerate(hits) if hit[task.client]] for task in tasks}
        suffered = (self._suffered(number, task, of_client[task.client]) for task in tasks)
        return [task for task in suffered if task is not None]

    def _suffered(self, number: int, task: ClientTask, hit: Sequence[int]) -> ClientTask | None:
        """Return a task that some faults hit; None if it does not take place."""
        gone = self._gone(task, hit)
        change = next((n for n in hit if isinstance(self._faults[n], ExampleFault)), None)
        acting = [n for n in hit if not isinstance(self._faults[n], ExampleFault | Loss)]
        if gone is not None:
            change, acting = None, [gone]
        self._log += [(number, task.client, n) for n in [*([] if change is None else [change]), *acting]]
        if gone is not None and self._is_before(gone):
            return None
        if change is not None:
            task = replace(task, batches=tuple(self._copies.of(batch, change) for batch in task.batches))
        return replace(task, faults=sum(1 << n for n in acting))

    def _gone(self, task: ClientTask, hit: Sequence[int]) -> int | None:
        """Return the number of the fault that loses a task first; None if none does."""
        lost = [n for n in hit if self._loses(n, task)]
        return min(lost, key=lambda n: (not self._is_before(n), n), default=None)

    def _loses(self, n: int, task: ClientTask) -> bool:
        fault = self._faults[n]
        return isinstance(fault, Loss) and fault.loses(task, self._streams[n].child("client", task.client))

    def _is_before(self, n: int) -> bool:
        fault = self._faults[n]
        return isinstance(fault, Loss) and fault.when == "before_training"

    @property
    def log(self) -> dict[str, NDArray[Any]]:
        """The plan's array of all that happens, [num, 3]: round, client, number of the fault; none if nothing does."""
        return {"fault_log": np.array(self._log, np.int32)} if self._log else {}

    def examples(self) -> Data:
        """Return the data set, with the copies behind it."""
        return self._copies.added(self._faults)


class _Copies:
    """Copies of training examples, numbered from the data set's end in the order in which they were needed."""

    def __init__(self, examples: Data) -> None:
        self._data = examples
        self._numbers: dict[int, NDArray[np.int64]] = {}  # by fault, of each example its copy's number, or -1
        self._made: list[tuple[int, NDArray[np.int64]]] = []  # the fault, and the originals
        self._end = len(examples.train)

    def of(self, batch: NDArray[np.integer[Any]], fault: int) -> NDArray[np.int64]:
        """Return the numbers of the copies, as `fault` changes them, of these examples."""
        numbers = self._numbers.setdefault(fault, np.full(len(self._data.train), -1))
        if len(new := np.unique(batch[numbers[batch] < 0])):
            numbers[new] = np.arange(self._end, self._end + len(new))
            self._made.append((fault, new))
            self._end += len(new)
        found: NDArray[np.int64] = numbers[batch]
        return found

    def added(self, faults: Sequence[Fault]) -> Data:
        if not self._made:
            return self._data
        parts = [self._data.train, *(self._changed(n, faults[n], originals) for n, originals in self._made)]
        train = replace(
            parts[0],
            features=np.concatenate([part.features for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        )
        return replace(self._data, train=train, num_changed=len(train) - len(parts[0]), known_digest=None)

    def _changed(self, number: int, fault: Fault, originals: NDArray[np.int64]) -> Split:
        train, num_classes = self._data.train, self._data.num_classes
        assert isinstance(fault, ExampleFault)
        before = np.array(train.labels[originals])
        after = np.asarray(given := fault.labels(before.copy(), num_classes))
        most = 1 if before.ndim == 2 else num_classes - 1
        if after.shape != before.shape or after.dtype.kind not in "iu" or after.min() < 0 or after.max() > most:
            raise InputError(
                f"faults.{number}: {named_part(fault, 'labels')} gives {shorten(' '.join(repr(given).split()))}, but "
                f"due are {len(before)} labels of {num_classes} classes; this is a defect of the fault"
            )
        columns = {name: values[originals] for name, values in train.columns.items()}
        return replace(train, features=train.features[originals], labels=after.astype(before.dtype), columns=columns)
