"""The phases of a step in torch, as `flspec.phases` defines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from flspec.core.randomness import Stream
from flspec.data.examples import Data, step_stream
from flspec.execution.parts import networks_of, phases_of
from flspec.layers import Network
from flspec.phases import REAL, Call, Phase, Term, draws_of_step, masks_of_call, scored_values, takes_place
from flspec.protocol.plan import ClientTask, Plan
from flspec_torch.batches import Batches
from flspec_torch.devices import HOST, TorchDevice
from flspec_torch.gradient import require_gradients
from flspec_torch.measuring import Measured
from flspec_torch.model import Evaluate, build_network
from flspec_torch.step import Learned, Turn

__all__ = ["PhasesStep"]

Values = dict[str, Tensor]  # by name, [rows, ...]
_Found = tuple[str, Tensor, int]  # a metric, its mean over some rows, and their number

# Of the scores of a term [rows, 1], taken as those of real examples or not, each row's share of the loss.
_TERMS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "logistic": lambda z, real: F.softplus(-z if real else z),
    "hinge": lambda z, real: F.relu(1 - z if real else 1 + z),
    "least_squares": lambda z, real: (z - 1).square() if real else z.square(),
    "wasserstein": lambda z, real: -z if real else z,
}


@dataclass(frozen=True)
class PhasesStep:
    """The step of a plan with phases."""

    plan: Plan
    data: Data
    device: TorchDevice = HOST

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.data.train, self.device)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        return phases_of(self.plan)

    @cached_property
    def networks(self) -> dict[str, Network]:
        return networks_of(self.plan)

    @cached_property
    def evaluate(self) -> dict[str, Evaluate]:
        return {name: build_network(network) for name, network in self.networks.items()}

    @cached_property
    def scored(self) -> dict[str, tuple[str, ...]]:
        return scored_values(self.phases)

    is_written_out: ClassVar[bool] = False

    def steps(
        self, task: ClientTask, numbers: range, tensors: Mapping[str, Tensor], learned: Learned, measured: Measured
    ) -> Iterator[Iterator[Turn]]:
        """Yield the gradients of each step: one after the other, that of each phase which takes place.

        Its optimizer steps before the next is asked for. Metrics are in `measured` once there is no further step.
        """
        require_gradients(tensors, [name for own in learned.values() for name in own])
        found: list[_Found] = []
        for number in numbers:
            yield self._turns(task, number, tensors, learned, found)
        means = torch.stack([mean for _, mean, _ in found]).cpu().tolist() if found else []
        for (name, _, num), mean in zip(found, means, strict=True):
            measured.add(name, mean * num, num)

    def _turns(
        self, task: ClientTask, number: int, tensors: Mapping[str, Tensor], learned: Learned, found: list[_Found]
    ) -> Iterator[Turn]:
        stream = step_stream(task, number)
        values = {REAL: self.batches.inputs(task, number)}
        num = len(values[REAL])
        drawn = draws_of_step(self.phases, number, num, stream)
        for phase in self.phases:
            if not takes_place(phase, number):
                continue
            own = {name: self.device.put(value) for name, value in drawn[phase.name].items()}
            with torch.enable_grad():
                for call in phase.calls:
                    values[call.value] = self._call(phase, call, values | own, tensors, stream)
                loss = _loss(phase.terms, values)
                gradients = _gradients(loss, list(learned[phase.optimizer].values()))
            found.append((phase.name, loss.detach(), num))
            found += [(name, values[name].detach().mean(), num) for name in self.scored[phase.name]]
            yield phase.optimizer, gradients

    def _call(self, phase: Phase, call: Call, values: Values, tensors: Mapping[str, Tensor], stream: Stream) -> Tensor:
        given = {name: values[source] for name, source in call.inputs.items()}
        if call.detached:
            given = {name: value.detach() for name, value in given.items()}
        masks = masks_of_call(self.networks[call.network], phase, call, len(values[REAL]), stream)
        factors = {name: self.device.put(mask) for name, mask in masks.items()}
        return self.evaluate[call.network](tensors, given, factors)


def _loss(terms: Sequence[Term], values: Values) -> Tensor:
    parts = [term.factor * _TERMS[term.kind](values[term.of], term.real).mean() for term in terms]
    return sum(parts[1:], parts[0])


def _gradients(loss: Tensor, learned: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient with respect to each tensor; zeros where the loss does not depend on it."""
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(gradients, learned, strict=True)]
