"""The local backend: clients on a thread pool in this process."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.core.tokens import Tokens
from flspec.execution.parts import scored_networks, step_multiply_adds
from flspec.execution.rounds import RoundResult, drive_rounds, round_result, timed
from flspec.execution.server_step import finish_round
from flspec.layers import BatchNormPolicy, Shape, TorchModule
from flspec.protocol.backend import Backend, Job, Rehearsal
from flspec.protocol.events import Event
from flspec.protocol.plan import FEATURES, ClientTask, Plan
from flspec.protocol.requirements import Requirement
from flspec.protocol.scoring import Scorer
from flspec.protocol.state import ServerState, Weights
from flspec.protocol.updates import ClientUpdate
from flspec_torch import unsupported_training
from flspec_torch.scoring_batches import examples_at_once

__all__ = ["LocalBackend"]

_WORTH_A_THREAD = 2_000_000  # multiplications in one step


class LocalBackend(Backend):
    """Clients on a thread pool in this process, one torch thread each. Other backends are compared with it."""

    name = "local"
    requirements = (Requirement("torch", "torch"),)
    packages = ("flspec_torch",)
    reads = frozenset(FEATURES)
    done_by = MappingProxyType({"client training": "flspec_torch", "transport": "threads", "server step": "flspec"})

    def unsupported(self, plan: Plan) -> list[str]:
        return unsupported_training(plan)

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        import torch

        from flspec_torch.training import Trainer

        stop = Flag()
        trainer = Trainer(plan, stop)
        versions = {"torch": torch.__version__, "python": platform.python_version()}
        pool = ThreadPoolExecutor(
            job.workers or _useful_workers(plan, job.num_workers),
            thread_name_prefix="client",
            initializer=torch.set_num_threads,
            initargs=(1,),
        )

        def run_round(number: int, state: ServerState) -> RoundResult:
            def train(task: ClientTask) -> ClientUpdate:
                return trainer.train_from(state, task)

            lap = timed()
            updates = list(pool.map(train, plan.cohort(number)))
            train_seconds = lap()
            outcome = finish_round(plan, state, updates)
            return round_result(outcome, updates, {"train": train_seconds, "aggregate": lap()})

        try:
            yield from drive_rounds(plan, job, versions, run_round)
        finally:
            stop.set()  # clients in training stop at their next batch
            pool.shutdown(wait=True, cancel_futures=True)

    def rehearse(self, plan: Plan) -> Rehearsal | None:
        from flspec_local.rehearsal import rehearse

        return rehearse(plan, _useful_workers(plan, os.cpu_count() or 1))

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

    def scorer(self, plan: Plan) -> Scorer:
        from flspec_torch.scoring import TorchScorer

        return TorchScorer(plan)

    def torch_module(self, plan: Plan, weights: Weights) -> Any:
        from flspec_torch.exporting import torch_module

        return torch_module(plan, weights)

    def scored_at_once(self, plan: Plan) -> int:
        return min(map(examples_at_once, scored_networks(plan)))


def _useful_workers(plan: Plan, cores: int) -> int:
    """Return the number of cores, or 1 if steps are so short that threads only wait for Python's global lock.

    Measured: with 0.5 million multiplications in a step, two threads take 1.7 times as long as one; with 8 million, 0.6
    times.
    """
    return cores if step_multiply_adds(plan) * plan.largest_batch >= _WORTH_A_THREAD else 1
