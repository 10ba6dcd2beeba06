"""The one interface that a backend implements."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from flspec.protocol.events import Event
from flspec.protocol.plan import FEATURES, Plan
from flspec.protocol.requirements import Environment, Requirement, module_names, pip_command
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import state_file

__all__ = ["CHECKPOINTS", "Backend", "Job", "Rehearsal", "kept_state"]

CHECKPOINTS = "checkpoints"  # folder, in a run's, of the states it keeps


@dataclass(frozen=True)
class Job:
    """How one execution is carried out; nothing here may change what is computed."""

    folder: Path  # absolute; the only place the backend may write to
    start: Path | None = None  # a kept state to go on from, instead of the plan's start
    follow: Path | None = None  # lockstep: another run's folder; round r starts from its state after round r - 1
    keep: Literal["planned", "all"] = "planned"  # rounds whose state is written to the folder
    workers: int = 0  # clients trained at once; 0 leaves it to the backend
    cores: int = 0  # that the backend may count on where others run beside it; 0: all

    @property
    def num_workers(self) -> int:
        return self.workers or self.cores or os.cpu_count() or 1


@dataclass(frozen=True)
class Rehearsal:
    """How long a plan's rounds take here, scaled up from a few steps."""

    seconds_a_round: float  # on average: training, aggregation, and evaluation as often as it is planned
    num_steps: int  # training steps that were measured


class Backend(ABC):
    """Executes plans on one engine. Construct it with a variant of itself, or none for the usual one."""

    name: ClassVar[str]
    variants: ClassVar[tuple[str, ...]] = ()  # e.g. ("ray", "inprocess"), asked for as `flower:inprocess`
    isolated: ClassVar[bool] = False  # runs in a process of its own, as one with an environment does anyway
    requirements: ClassVar[tuple[Requirement, ...]] = ()  # packages it needs in this Python
    environment: ClassVar[Environment | None] = None  # the Python environment it needs, if not this one
    reads: ClassVar[frozenset[str]] = frozenset()  # of `plan.FEATURES`, to obey them or to refuse them itself

    def __init__(self, variant: str | None = None) -> None:
        self.variant = variant

    @abstractmethod
    def unsupported(self, plan: Plan) -> list[str]:
        """Name what the plan asks for that this backend cannot do, field first; empty means it can run.

        Neither trains, draws, nor imports the engine, so it can be asked before anything starts.
        """

    def refusals(self, plan: Plan) -> list[str]:
        """All that stands in the way of a plan, field first: missing packages, features not read, or `unsupported`.

        So a backend that was written before a feature existed refuses it, instead of passing it over.
        """
        unread = dict.fromkeys(FEATURES[key] for key in plan.features if key not in self.reads)
        why = f"{self.name} does not read this; remove it, or choose another backend"
        # `unsupported` may not understand a plan with a feature that is not read, so it is not asked of one.
        return [*self._missing(), *([f"{field}: {why}" for field in unread] or self.unsupported(plan))]

    def missing(self) -> list[Requirement]:
        """Those of `requirements` that are not installed, as far as this variant needs them; imports none of them."""
        needed = [one for one in self.requirements if self.variant not in one.not_for]
        return [one for one in needed if importlib.util.find_spec(one.module) is None]

    def _missing(self) -> list[str]:
        """The packages that are missing, as a refusal."""
        if not (missing := self.missing()):
            return []
        return [f"backend: {self.name} needs {module_names(missing)}; install it with {pip_command(missing)}"]

    @abstractmethod
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        """Run the plan's rounds, yielding each event as soon as it is known.

        Closing the iterator stops the run and leaves nothing of it behind.
        """

    def rehearse(self, plan: Plan) -> Rehearsal | None:
        """Measure a second or less of the plan's training, keeping nothing of it; None if it cannot tell.

        Asked only of what `unsupported` lets through, whose data are in the store.
        """
        return None

    def scorer(self, plan: Plan) -> Scorer | None:
        """What runs the plan's model forward, for evaluation; None where this backend only trains.

        flspec asks `flspec.protocol.registry.REFERENCE`, so that engines differ only by their training.
        """
        return None

    def scored_at_once(self, plan: Plan) -> int:
        """How many examples its scorer passes through the model together, as the estimate of memory needs to know."""
        raise NotImplementedError(f"{self.name} scores no models")


def kept_state(folder: Path, round_number: int) -> Path:
    """Where a run in `folder` keeps its state after a round."""
    return state_file(folder / CHECKPOINTS, round_number)
