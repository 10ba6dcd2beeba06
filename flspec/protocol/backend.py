"""`Backend`, the one interface that a backend implements."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flspec.core.tokens import Tokens
from flspec.errors import InputError
from flspec.layers import BatchNormPolicy, Shape, TorchModule
from flspec.protocol.devices import CPU, Device, device_kind
from flspec.protocol.events import Event
from flspec.protocol.native import Native, native_refusals
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import FEATURES, Plan
from flspec.protocol.requirements import Environment, Requirement, module_names, pip_command
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import Weights, state_file

__all__ = ["CHECKPOINTS", "STAGES", "Backend", "Job", "Rehearsal", "kept_state"]

CHECKPOINTS = "checkpoints"  # subfolder of a run's folder, for the server states that it saves
STAGES = ("client training", "transport", "server step")  # of a round, each of which an engine may do in its own way


@dataclass(frozen=True)
class Job:
    """Options of one execution. None of them may change what is computed, but for rounding by the device."""

    folder: Path  # absolute; the only place the backend may write to
    start: Path | None = None  # a saved state to continue from; None: the plan's initial state
    follow: Path | None = None  # lockstep: another run's folder; round r starts from its state after round r - 1
    keep: Literal["planned", "all"] = "planned"  # rounds whose state is written to the folder
    workers: int = 0  # clients trained at once; 0 leaves it to the backend
    client_rows: bool = False  # whether the events of rounds tell what each client measured
    cores: int = 0  # CPU cores that the backend may use while others run beside it; 0: all
    device: Device = CPU  # that `Backend.find_device` found

    @property
    def num_workers(self) -> int:
        return self.workers or (1 if self.device != CPU else self.cores or os.cpu_count() or 1)


@dataclass(frozen=True)
class Rehearsal:
    """The time that a plan's rounds take on this machine, extrapolated from a few steps."""

    seconds_a_round: float  # mean of training, aggregation and evaluation, the last as often as planned
    num_steps: int  # training steps measured


class Backend(ABC):
    """An engine that executes plans. Construct it with one of its `variants`, or None for the default."""

    name: ClassVar[str]
    variants: ClassVar[tuple[str, ...]] = ()  # e.g. ("ray", "inprocess"), selected by `flower:inprocess`
    isolated: ClassVar[bool] = False  # runs in a process of its own; a backend with an environment always does
    offline: ClassVar[bool] = False  # its processes talk to each other alone: where possible in a network of their own
    requirements: ClassVar[tuple[Requirement, ...]] = ()  # packages it needs in this Python
    packages: ClassVar[tuple[str, ...]] = ()  # that have code of its own, beside the package that the class is in
    environment: ClassVar[Environment | None] = None  # the Python environment it needs, if not this one
    reads: ClassVar[frozenset[str]] = frozenset()  # those of `plan.FEATURES` that it carries out, or refuses itself
    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # kinds of devices that clients can be trained on
    natives: ClassVar[Mapping[str, Native]] = MappingProxyType({})  # its own algorithms, by the kind of aggregator
    # Whose code does each of STAGES: `stages` may say otherwise of a plan. Comparing two backends says nothing of a
    # stage that the same code does for both.
    done_by: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, variant: str | None = None) -> None:
        self.variant = variant

    @property
    def declaration(self) -> type[Backend]:
        """The class that declares what it is made of. For a backend in another process it is the class there."""
        return type(self)

    def stages(self, plan: Plan) -> Mapping[str, str]:
        """Return whose code does each of STAGES in the rounds of a plan."""
        return self.done_by

    @abstractmethod
    def unsupported(self, plan: Plan) -> list[str]:
        """Return a message for each thing in the plan that this backend cannot do, field first; empty if it can run.

        Must not train, draw or import the engine, because it is called before anything starts.
        """

    def find_device(self, asked: str) -> Device:
        """Return the device that is called cpu, cuda, cuda:N, mps, or by auto the fastest; its number and card, too.

        Raises InputError, saying what there is, if it is none of `devices`, or this machine has none. A backend with
        others than the CPU overrides this.
        """
        if device_kind(asked) not in ("auto", *self.devices):
            raise InputError(
                f"device: {self.name} trains on {', '.join(self.devices)} alone, not on {asked}; leave it out, or "
                "choose another backend"
            )
        return CPU

    def unsupported_on(self, plan: Plan, device: Device) -> list[str]:
        """Return a message for each thing in the plan that needs the CPU, and not this device; field first."""
        return []

    def refusals(self, plan: Plan) -> list[str]:
        """Return every reason not to run a plan, field first: missing packages, features not read, or `unsupported`.

        A backend that was written before a feature existed therefore refuses it, and does not silently ignore it. One
        without an algorithm of its own refuses `implementation: native`.
        """
        unread = dict.fromkeys(FEATURES[key] for key in plan.features if key not in self.reads)
        why = f"{self.name} does not read this; remove it, or choose another backend"
        # `unsupported` may misread a plan with a feature that the backend does not read, so it is not called then.
        with using_parts_of(plan.settings):
            own = native_refusals(plan, self.name, self.natives)
            return [*self._missing(), *([f"{field}: {why}" for field in unread] or [*own, *self.unsupported(plan)])]

    def missing(self) -> list[Requirement]:
        """Return those of `requirements` that this variant needs and that are not installed. Imports none of them."""
        needed = [one for one in self.requirements if self.variant not in one.not_for]
        return [one for one in needed if importlib.util.find_spec(one.module) is None]

    def _missing(self) -> list[str]:
        """Return the refusal for missing packages, if there are any."""
        if not (missing := self.missing()):
            return []
        return [f"backend: {self.name} needs {module_names(missing)}; install it with {pip_command(missing)}"]

    @abstractmethod
    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        """Run the plan's rounds and yield each event at once.

        Closing the generator stops the run and leaves no process or temporary file behind.
        """

    def rehearse(self, plan: Plan) -> Rehearsal | None:
        """Time at most a second of the plan's training and discard the result; None if the backend cannot.

        Called only for plans that `unsupported` accepts and whose data are in the store.
        """
        return None

    def describe_module(
        self,
        module: str,
        arguments: Mapping[str, Any],
        input_shape: Shape,
        policy: BatchNormPolicy | None,
        tokens: Tokens | None = None,
    ) -> TorchModule | None:
        """Return what an experiment has to know of somebody's torch module; None if the backend has no torch.

        `module` is MODULE:CLASS. Its inputs are token numbers if `tokens` says of which. Raises SpecError if it cannot
        be trained as a plan says. May import the engine.
        """
        return None

    def module_tensors(self, module: TorchModule, seed: int) -> dict[str, NDArray[np.float32]]:
        """Return the initial tensors of a module that `describe_module` described, as its class draws them."""
        raise NotImplementedError

    def scorer(self, plan: Plan, device: Device = CPU) -> Scorer | None:
        """Return the scorer that runs the plan's model forward on a device; None if this backend only trains.

        flspec uses the scorer of `flspec.protocol.registry.REFERENCE`, so engines differ only by their training.
        """
        return None

    def torch_module(self, plan: Plan, weights: Weights) -> Any:
        """Return the plan's model with these weights as a `torch.nn.Module`; None if the backend has no torch."""
        return None

    def torch_program(self, plan: Plan, weights: Weights) -> bytes | None:
        """Return the plan's model as a file that torch reads without flspec; None if the backend has no torch.

        Raises ValueError, with the reason, for a model that torch cannot export.
        """
        return None

    def onnx_model(self, plan: Plan, weights: Weights) -> bytes | None:
        """Return the plan's model as a file in ONNX; None if the backend has none. Raises ValueError as above."""
        return None

    def scored_at_once(self, plan: Plan) -> int:
        """Return how many examples its scorer runs through the model at once. The memory estimate needs it."""
        raise NotImplementedError(f"{self.name} scores no models")


def kept_state(folder: Path, round_number: int) -> Path:
    """Return the file in which a run in `folder` saves the server state after a round."""
    return state_file(folder / CHECKPOINTS, round_number)
