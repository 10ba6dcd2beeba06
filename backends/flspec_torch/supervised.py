"""A step of one network: a batch, the objective's loss and its gradient, or that of a private step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from flspec.core.randomness import Stream
from flspec.data.examples import Data, step_stream
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import loss_of, network_of, objective_of
from flspec.layers import Network, trace
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import ClientTask, Plan
from flspec_torch.losses import build_loss
from flspec_torch.measuring import Measured
from flspec_torch.model import Forward, build_forward
from flspec_torch.objectives import StepLoss, build_step_loss
from flspec_torch.private_steps import Sums, add_noise, sum_of_clipped
from flspec_torch.step import Learned, StepInputs, StepParts, Turn

__all__ = ["SupervisedStep"]


@dataclass(frozen=True)
class SupervisedStep:
    """The step of a plan of one network, which its one optimizer, named "", follows."""

    plan: Plan
    data: Data

    @cached_property
    def network(self) -> Network:
        return network_of(self.plan)

    @cached_property
    def forward(self) -> Forward:
        with using_parts_of(self.plan.settings):
            return build_forward(self.network)

    @cached_property
    def parts(self) -> StepParts:
        loss = loss_of(self.plan)
        return StepParts(
            network=self.network,
            forward=self.forward,
            loss=loss,
            batch_loss=build_loss(loss, self.plan.settings.label_weights),
            num_outputs=trace(self.network)[self.network.output][0],
            is_multi_label=self.data.is_multi_label,
        )

    @cached_property
    def step_loss(self) -> StepLoss:
        return build_step_loss(objective_of(self.plan))

    def __call__(
        self, task: ClientTask, number: int, tensors: Mapping[str, Tensor], learned: Learned, measured: Measured
    ) -> Iterator[Turn]:
        """Yield the gradient of the step, before corrections. Metrics are measured on the batch before it."""
        gradients, sums = self._gradient(task, number, tensors, learned[""])
        if measured and measured.names != sums.keys():
            names = [", ".join(some) for some in (sums, measured.names)]
            raise self._objective_call.error(f"measured {names[0]} in a step after {names[1]}")
        for name, value in sums.items():
            measured.add(name, value, len(task.batches[number]))
        yield "", gradients

    def _gradient(
        self, task: ClientTask, number: int, tensors: Mapping[str, Tensor], learned: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, float]]:
        """Return the gradient of a step, and the sums of its metrics."""
        if (bound := self.plan.settings.private_steps) is None:
            loss, measured = self.step_loss(self.inputs(task, number, tensors))
            return self._gradients(loss, learned), measured
        nothing: Sums = {name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in learned.items()}
        sums, measured = nothing, {"loss": 0.0, "accuracy": 0.0}
        if len(task.batches[number]):  # by chance no example may take part, and then the step has noise alone
            sums, measured = sum_of_clipped(self.inputs(task, number, tensors), learned, bound.norm)
        expected = min(bound.batch_size, len(self.plan.client_examples(task.client)))
        noise = Stream(self.plan.noise_seed(task.seed), "step", number, "noise")
        return add_noise(sums, bound, expected, noise), measured

    @property
    def _objective_call(self) -> PartCall:
        return PartCall("client.objective", objective_of(self.plan), "torch")

    def _gradients(self, loss: Tensor, learned: Mapping[str, Tensor]) -> Sequence[Tensor]:
        gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
        for name, gradient in zip(learned, gradients, strict=True):
            if gradient is None:
                raise self._objective_call.error(f"gave a loss that does not depend on {name}")
        return gradients

    def inputs(self, task: ClientTask, number: int, tensors: Mapping[str, Tensor]) -> StepInputs:
        """Return the batch of a step, transformed, with the model's tensors before it."""
        batch, stream = task.batches[number], step_stream(task, number)
        inputs = torch.from_numpy(self.data.train.inputs(batch, stream))
        return StepInputs(self.parts, tensors, inputs, self.data.train.labels[batch], stream)
