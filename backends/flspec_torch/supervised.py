"""The steps of one network: batches, the objective's loss and its gradient, or that of a private step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from flspec.core.randomness import Stream
from flspec.data.examples import Data, step_stream
from flspec.execution.part_checks import PartCall
from flspec.execution.parts import loss_of, network_of, objective_of
from flspec.layers import Network, draws_in_training, trace
from flspec.objectives.supervised import Supervised
from flspec.protocol.part_scope import using_parts_of
from flspec.protocol.plan import ClientTask, Plan
from flspec_torch.batches import Batches, Block
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.gradient import (
    BatchesOf,
    ByAutograd,
    ModelGradient,
    WrittenOut,
    has_derivatives,
    require_gradients,
)
from flspec_torch.layers import Masks, Tensors
from flspec_torch.losses import build_loss, is_correct
from flspec_torch.measuring import Measured
from flspec_torch.model import Forward, build_forward, translations_of
from flspec_torch.objectives import StepLoss, build_step_loss
from flspec_torch.private_steps import Sums, add_noise, sum_of_clipped
from flspec_torch.step import Learned, StepInputs, StepParts, Turn, draw_factors

__all__ = ["SupervisedStep"]

_NO_MASKS: Masks = {}


@dataclass(frozen=True)
class SupervisedStep:
    """The steps of a plan of one network, which its one optimizer, named "", follows."""

    plan: Plan
    data: Data
    device: TorchDevice = HOST

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.data.train, self.device)

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
            batch_loss=build_loss(loss, self.plan.settings.label_weights, self.device),
            num_outputs=trace(self.network)[self.network.output][0],
            is_multi_label=self.data.is_multi_label,
            device=self.device,
        )

    @cached_property
    def step_loss(self) -> StepLoss | None:
        """The loss of a step by an objective of somebody's own."""
        objective = objective_of(self.plan)
        return None if isinstance(objective, Supervised) else build_step_loss(objective)

    @cached_property
    def gradient(self) -> ModelGradient:
        """That of `client.loss`, which the model decides how to find."""
        with using_parts_of(self.plan.settings):
            translations = translations_of(self.network)
        if has_derivatives(translations, self.parts.batch_loss):
            return WrittenOut(translations, self.parts.batch_loss)
        return ByAutograd(self.forward, self.parts.batch_loss)

    @property
    def is_written_out(self) -> bool:
        """Whether its gradients are found without autograd."""
        by_blocks = not (self.plan.settings.private_steps or self.step_loss)
        return by_blocks and isinstance(self.gradient, WrittenOut)

    def steps(
        self, task: ClientTask, numbers: range, tensors: Tensors, learned: Learned, measured: Measured
    ) -> Iterator[Sequence[Turn]]:
        """Yield the gradient of each step, before corrections; the optimizer steps before the next is asked for.

        Metrics are measured on each batch before its step, and are in `measured` once there is no further step.
        """
        if self.plan.settings.private_steps or self.step_loss:
            yield from self._steps_one_by_one(task, numbers, tensors, learned[""], measured)
            return
        names = list(learned[""])
        gradient = self.gradient(tensors, names)
        for block in self.batches.blocks(task, numbers):
            yield from self._steps_of(block, task, gradient, names, measured)

    def _steps_of(
        self, block: Block, task: ClientTask, gradient: BatchesOf, names: Sequence[str], measured: Measured
    ) -> Iterator[Sequence[Turn]]:
        targets = self.parts.targets(block.labels)
        batches, masks = gradient(targets, block.sizes), _NO_MASKS
        for number, inputs in zip(block.numbers, block.inputs, strict=True):
            if self._draws:
                masks = draw_factors(self.parts, len(inputs), step_stream(task, number))
            yield (("", self._complete(names, batches(inputs, masks))),)
        means = torch.stack(batches.means).cpu().tolist()
        losses = [mean * size for mean, size in zip(means, block.sizes, strict=True)]
        measured.extend("loss", losses, block.sizes)
        measured.extend("accuracy", self._num_correct(torch.cat(batches.outputs), targets, block.sizes), block.sizes)

    def _num_correct(self, outputs: Tensor, targets: Tensor, sizes: Sequence[int]) -> list[float]:
        """Return what `count_correct` counts in batches that lie one after the other: of each, or of all together."""
        correct = is_correct(self.parts.loss, outputs, targets, self.parts.is_multi_label)
        if correct.ndim == 1:
            return [float(torch.count_nonzero(correct))]  # whole numbers, whose order does not matter
        starts = [0, *accumulate(sizes[:-1])]
        counts = np.add.reduceat(correct.cpu().numpy(), starts, axis=0, dtype=np.int64)
        return [float(share) for share in (counts.sum(axis=1) / correct.shape[1]).tolist()]

    def _steps_one_by_one(
        self,
        task: ClientTask,
        numbers: range,
        tensors: Tensors,
        learned: Mapping[str, Tensor],
        measured: Measured,
    ) -> Iterator[Sequence[Turn]]:
        """Yield the gradients of private steps, or of an objective of somebody's own."""
        require_gradients(tensors, learned)
        for number in numbers:
            with torch.enable_grad():
                gradients, sums = self._gradient(task, number, tensors, learned)
            if measured and measured.names != sums.keys():
                names = [", ".join(some) for some in (sums, measured.names)]
                raise self._objective_call.error(f"measured {names[0]} in a step after {names[1]}")
            for name, value in sums.items():
                measured.add(name, value, len(task.batches[number]))
            yield (("", gradients),)

    def _gradient(
        self, task: ClientTask, number: int, tensors: Tensors, learned: Mapping[str, Tensor]
    ) -> tuple[Sequence[Tensor], Mapping[str, float]]:
        """Return the gradient of a step, and the sums of its metrics."""
        if (bound := self.plan.settings.private_steps) is None:
            assert self.step_loss, "other steps are those of blocks"
            loss, measured = self.step_loss(self.inputs(task, number, tensors))
            gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
            return self._complete(list(learned), gradients), measured
        nothing: Sums = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in learned.items()}
        sums, measured = nothing, {"loss": 0.0, "accuracy": 0.0}
        if len(task.batches[number]):  # by chance no example may take part, and then the step has noise alone
            sums, measured = sum_of_clipped(self.inputs(task, number, tensors), learned, bound.norm)
        expected = min(bound.batch_size, len(self.plan.client_examples(task.client)))
        noise = Stream(self.plan.noise_seed(task.seed), "step", number, "noise")
        return add_noise(sums, bound, expected, noise), measured

    def _complete(self, names: Sequence[str], gradients: Sequence[Tensor | None]) -> Sequence[Tensor]:
        """Return the gradients. Raises RunError if one is missing."""
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is None:
                raise self._objective_call.error(f"gave a loss that does not depend on {name}")
        return gradients  # type: ignore[return-value]

    @property
    def _objective_call(self) -> PartCall:
        return PartCall("client.objective", objective_of(self.plan), "torch")

    @cached_property
    def _draws(self) -> bool:
        return draws_in_training(self.network)

    def inputs(self, task: ClientTask, number: int, tensors: Tensors) -> StepInputs:
        """Return the batch of a step, transformed, with the model's tensors before it."""
        inputs, labels = self.batches.inputs(task, number), self.data.train.labels[task.batches[number]]
        return StepInputs(self.parts, tensors, inputs, labels, step_stream(task, number))
