"""`Simulator`: how one of the simulators is started, and how it trains a plan's clients by its own loop."""

from __future__ import annotations

import importlib
import pkgutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flspec.data.store import open_data
from flspec.protocol.plan import Plan

__all__ = ["PLAN", "Absent", "Simulator", "client_arrays", "plan_folder", "simulators"]

PLAN = "plan"  # name of its folder


class Absent(Exception):
    """A simulator cannot be started here; says why, for the table."""


class Simulator(ABC):
    """A way to train the clients of a plan by a loop of its own. To add one, put a class into `simulators/`.

    The plan gives models, clients' examples, batch size, learning rate and cohort; everything else is the simulator's.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settled: ClassVar[float] = 0.0  # seconds of rounds, after the first, until it is at its pace

    def python(self) -> Path:
        """Return the interpreter that has it. Raises Absent."""
        raise NotImplementedError

    @abstractmethod
    def run(self, plan: Plan, rounds: int, after_round: Callable[[], None]) -> None:
        """Train so many rounds, of a plan of more. `after_round` waits, between them, for the floor to be timed."""


def plan_folder() -> Path:
    """Return where the plan of a simulator's process is: in its folder of temporary files, which goes with it."""
    return Path(tempfile.gettempdir()) / PLAN


def simulators() -> dict[str, Simulator]:
    """Return all of them by name."""
    package = importlib.import_module("benchmarks.peers.simulators")
    found: dict[str, Simulator] = {}
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for kind in sorted(Simulator.__subclasses__(), key=lambda kind: kind.__module__):
        found[kind.name] = kind()
    return found


def client_arrays(plan: Plan) -> Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Return inputs and labels of each client of the first round, in the order of its batches."""
    train = open_data(plan.settings.data).train
    orders = [np.concatenate(task.batches).astype(np.int64) for task in plan.cohort(1)]
    return [(train.inputs(order), train.labels[order].astype(np.int64)) for order in orders]
