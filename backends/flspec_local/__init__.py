"""The local backend: clients in threads of this process, and in processes beside it where that pays."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from threading import Event as Flag
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.collection import nothing_collected
from flspec.core.tokens import Tokens
from flspec.execution.parts import scored_networks
from flspec.execution.rounds import RoundResult, drive_rounds, round_result
from flspec.execution.server_step import finish_round, finish_round_of, takes_one_by_one
from flspec.layers import BatchNormPolicy, Shape, TorchModule
from flspec.protocol.backend import Job, Rehearsal
from flspec.protocol.devices import CPU, Device
from flspec.protocol.events import Event
from flspec.protocol.plan import FEATURES, Plan
from flspec.protocol.requirements import Requirement
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import ServerState, Weights
from flspec.protocol.updates import ClientUpdate
from flspec_torch import OnTorch, unsupported_training
from flspec_torch.scoring_batches import examples_at_once

if TYPE_CHECKING:
    from flspec_local.crew import Crew

__all__ = ["LocalBackend"]


class LocalBackend(OnTorch):
    """Clients side by side, one torch thread each: see `flspec_local.crew`. Other backends are compared with it.

    Its variants say who trains, which else is chosen by what the first steps took.
    """

    name = "local"
    variants = ("threads", "processes")
    requirements = (Requirement("torch", "torch"),)
    packages = ("flspec_torch",)
    reads = frozenset(FEATURES)
    done_by = MappingProxyType(
        {"client training": "flspec_torch", "transport": "flspec_local", "server step": "flspec"}
    )

    def unsupported(self, plan: Plan) -> list[str]:
        return unsupported_training(plan)

    def unsupported_on(self, plan: Plan, device: Device) -> list[str]:
        its = ["backend: local:processes trains on the CPU alone; choose local"] if self.variant == "processes" else []
        return [*its, *super().unsupported_on(plan, device)]

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        with nothing_collected():
            import torch

            from flspec_local.crew import Crew
            from flspec_torch.devices import open_device
            from flspec_torch.training import Trainer

        stop = Flag()
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        crew = Crew(plan, job, self.variant, Trainer(plan, stop, open_device(job.device)))
        rounds = _Rounds(plan, crew)
        try:
            yield from drive_rounds(plan, job, versions, rounds.run)
        finally:
            stop.set()  # clients in training stop at their next batch
            crew.close()

    def rehearse(self, plan: Plan) -> Rehearsal | None:
        from flspec_local.choice import useful_threads
        from flspec_local.rehearsal import rehearse

        cores = os.cpu_count() or 1
        return rehearse(plan, useful_threads(plan, cores), cores)

    def describe_module(
        self,
        module: str,
        arguments: Mapping[str, Any],
        input_shape: Shape,
        policy: BatchNormPolicy | None,
        tokens: Tokens | None = None,
    ) -> TorchModule | None:
        from flspec_torch.module_description import describe

        return describe(module, arguments, input_shape, policy, tokens)

    def module_tensors(self, module: TorchModule, seed: int) -> dict[str, NDArray[np.float32]]:
        from flspec_torch.module_description import draw_tensors

        return draw_tensors(module, seed)

    def scorer(self, plan: Plan, device: Device = CPU) -> Scorer:
        from flspec_torch.devices import open_device
        from flspec_torch.scoring import TorchScorer

        return TorchScorer(plan, open_device(device))

    def torch_module(self, plan: Plan, weights: Weights) -> Any:
        from flspec_torch.exporting import torch_module

        return torch_module(plan, weights)

    def torch_program(self, plan: Plan, weights: Weights) -> bytes:
        from flspec_torch.exporting import torch_program

        return torch_program(plan, weights)

    def onnx_model(self, plan: Plan, weights: Weights) -> bytes:
        from flspec_torch.exporting import onnx_model

        return onnx_model(plan, weights)

    def scored_at_once(self, plan: Plan) -> int:
        return min(map(examples_at_once, scored_networks(plan)))


class _Stopwatch:
    """The seconds that an iterator takes for its items."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, items: Iterable[ClientUpdate]) -> Iterator[ClientUpdate]:
        began = time.perf_counter()
        for item in items:
            self.seconds += time.perf_counter() - began
            yield item
            began = time.perf_counter()
        self.seconds += time.perf_counter() - began


class _Rounds:
    """Rounds of a plan: a crew trains, and the server takes the updates one by one where its rule allows."""

    def __init__(self, plan: Plan, crew: Crew) -> None:
        self._plan, self._crew = plan, crew
        self._one_by_one = takes_one_by_one(plan)

    def run(self, number: int, state: ServerState) -> RoundResult:
        outcome, began, training = None, time.perf_counter(), _Stopwatch()
        if self._one_by_one:
            outcome, updates = finish_round_of(self._plan, state, training.of(self._crew.updates(state, lasting=False)))
        if outcome is None:
            self._one_by_one = False  # a run with one update that is not finite has more, and would train twice
            updates = list(training.of(self._crew.updates(state, lasting=True)))
            outcome = finish_round(self._plan, state, updates)
        seconds = {"train": training.seconds, "aggregate": time.perf_counter() - began - training.seconds}
        return round_result(outcome, updates, seconds, self._crew.workers)
