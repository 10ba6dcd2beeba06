"""A client's local training and a model's scores in torch, shared by every backend that runs torch.

This module imports no torch, because backends are asked before anything starts what they cannot do.
"""

from __future__ import annotations

from flspec.client_optimizers import ClientOptimizer
from flspec.core.components import family_member
from flspec.execution.parts import client_algorithm_of, networks_of
from flspec.layers import TorchModule
from flspec.losses import Loss, LossDocument
from flspec.objectives import Objective
from flspec.protocol.backend import Backend
from flspec.protocol.devices import CPU, Device
from flspec.protocol.plan import Plan
from flspec.protocol.settings import ComponentDocument

__all__ = ["OnTorch", "unsupported_training"]

_OPTIMIZERS = ("sgd", "adam", "adamw")  # client optimizers with a translation in optimizers.py
_LOSSES = ("binary_cross_entropy", "cross_entropy", "huber", "mean_squared_error")  # translated in losses.py


class OnTorch(Backend):
    """A backend whose clients this package trains, on any device that torch has."""

    devices = ("cpu", "cuda", "mps")

    def find_device(self, asked: str) -> Device:
        super().find_device(asked)
        if asked == "cpu":
            return CPU
        from flspec_torch.devices import find_device

        return find_device(asked)

    def unsupported_on(self, plan: Plan, device: Device) -> list[str]:
        layers = [layer for network in networks_of(plan).values() for layer in network.layers]
        draws = any(isinstance(layer, TorchModule) and layer.draws for layer in layers)
        problems = [f"model: its module draws random numbers, and {device} draws others than the CPU does"] * draws
        if device.name != "mps":
            return problems
        settings, algorithm = plan.settings, client_algorithm_of(plan)
        wide = {
            "client.clip": settings.clip,
            "privacy": settings.private_steps,
            "client.algorithm": "gradient" in algorithm.measured_at_start,
        }
        return [*problems, *(f"{field}: it needs float64, which mps has not" for field, used in wide.items() if used)]


def unsupported_training(plan: Plan) -> list[str]:
    """Return a message for each thing in clients' training that this package cannot do in torch, field first."""
    settings = plan.settings
    if settings.phases:
        documents = {f"client.optimizers.{player}": one for player, one in settings.optimizers.items()}
        return [problem for field, document in documents.items() for problem in _unsupported_optimizer(field, document)]
    problems = _unsupported_optimizer("client.optimizer", settings.client_optimizer)
    if objective := plan.settings.objective:
        problems += _unsupported_objective(str(objective["kind"]))
    return [*problems, *_unsupported_loss(plan.settings.loss, is_weighted=bool(plan.settings.label_weights))]


def _unsupported_optimizer(field: str, document: ComponentDocument) -> list[str]:
    kind, schedule, problems = document["kind"], document.get("schedule"), []
    cls = family_member(ClientOptimizer, str(kind))
    if kind not in _OPTIMIZERS and (cls is None or cls.torch is ClientOptimizer.torch):
        problems.append(f"{field}: {kind} has no torch translation; known: {', '.join(_OPTIMIZERS)}")
    if schedule and schedule["kind"] != "plateau":
        problems.append(
            f"{field}.schedule: {schedule['kind']} needs a client's measurements; torch supports only plateau"
        )
    return problems


def _unsupported_loss(document: LossDocument, is_weighted: bool) -> list[str]:
    """Return why torch cannot minimise a loss of another package; empty if it can."""
    kind = document if isinstance(document, str) else str(document["kind"])
    cls = family_member(Loss, kind)
    if kind in _LOSSES:
        return []
    if cls is not None and cls.torch is not Loss.torch:
        why = f"client.label_weights: torch supports them only for flspec's own losses, not {kind}; remove them"
        return [why] if is_weighted else []
    return [f"client.loss: {kind} has no torch translation; known: {', '.join(_LOSSES)}"]


def _unsupported_objective(kind: str) -> list[str]:
    """Return why torch cannot minimise an objective of another package; empty if it can."""
    cls = family_member(Objective, kind)
    if cls is None:
        return [f"client.objective: {kind} is not installed here"]
    return [] if cls.torch is not Objective.torch else [f"client.objective: {kind} has no method `torch`"]
