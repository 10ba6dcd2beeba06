"""Causes in a client's steps: its optimizer, its gradients, its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flspec.comparison.causes.base import AlteredPlan, Cause, Guess, Scene, with_cohort, with_settings
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan

__all__ = [
    "ClientsEpsilon",
    "LabelsAlike",
    "LearningRate",
    "MomentumKept",
    "NoMomentum",
    "NoSchedule",
    "NoWeightDecay",
    "NotClipped",
    "NotNormalised",
    "OtherDraws",
]


_SHARE = 1e-3  # by which a learning rate is raised to see what it does


class _Optimizer(AlteredPlan):
    """A cause that changes the clients' optimizer."""

    def change(self, optimizer: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the optimizer as it would be; None if that is what it is."""
        raise NotImplementedError

    def altered(self, scene: Scene) -> Iterator[Plan]:
        if (changed := self.change(scene.plan.settings.client_optimizer)) is not None:
            yield with_settings(scene.plan, client_optimizer=dict(changed))


class NoMomentum(_Optimizer):
    name, words = "momentum left out", "the clients' momentum is ignored"

    def change(self, optimizer: Mapping[str, Any]) -> Mapping[str, Any] | None:
        left = {key: value for key, value in optimizer.items() if key not in ("momentum", "nesterov")}
        return left if optimizer.get("momentum") else None


class NoWeightDecay(_Optimizer):
    name, words = "weight decay left out", "the clients' weight decay is ignored"

    def change(self, optimizer: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {**optimizer, "weight_decay": 0.0} if optimizer.get("weight_decay") else None


class ClientsEpsilon(_Optimizer):
    name, words = "clients' epsilon elsewhere", "clients' Adam adds epsilon on the other side of the bias correction"

    def change(self, optimizer: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return toggled(optimizer, "epsilon_hat") if str(optimizer.get("kind", "")).startswith("adam") else None


class MomentumKept(Cause):
    name, words = "momentum kept", "clients go on with the momentum, or the moments, of their task before"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        """Yield what the rounds up to this one give, run from the start: until now nothing differed."""
        optimizer = scene.plan.settings.client_optimizer
        has_state = optimizer.get("momentum") or str(optimizer.get("kind", "")).startswith("adam")
        if has_state and optimizer.get("state") != "kept" and scene.number > 1 and not scene.plan.settings.local:
            kept = with_settings(scene.plan, client_optimizer={**optimizer, "state": "kept"})
            yield Guess(scene.run_from_start(kept))


class LearningRate(Cause):
    """Another learning rate of clients, found by how far a slightly larger one moves the weights."""

    name, words = "clients' learning rate", "clients train with another learning rate"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        if not (rate := float(scene.plan.settings.client_optimizer.get("learning_rate", 0.0))):
            return
        factor = 1.0
        for _ in range(5):  # Newton's steps: the weights are no straight line of the rate
            factor *= 1.0 + self._more(scene, rate * factor)
            if not 0.01 < factor < 100:
                return
        yield Guess(self._with(scene, rate * factor), f"{factor:.4g} times what is planned")

    def _more(self, scene: Scene, rate: float) -> float:
        """Return by which share a larger rate comes nearest to the engine's weights, as if they were a line of it."""
        at, beside, scales = self._with(scene, rate), self._with(scene, rate * (1.0 + _SHARE)), scene.scales
        along, length = 0.0, 0.0
        for name, scale in scales.items():
            slope = (beside[name].astype(np.float64) - at[name]) / (_SHARE * scale)
            along += float(np.vdot(slope, (scene.theirs[name].astype(np.float64) - at[name]) / scale))
            length += float(np.vdot(slope, slope))
        return along / length if length else 0.0

    def _with(self, scene: Scene, rate: float) -> Weights:
        optimizer = {**scene.plan.settings.client_optimizer, "learning_rate": rate}
        return scene.run(with_settings(scene.plan, client_optimizer=optimizer), scene.before)


class NoSchedule(AlteredPlan):
    name, words = "schedule left out", "learning rates stay as they begin"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        for names in (("client_rates", "server_rates"), ("client_rates",), ("server_rates",)):
            if any(name in scene.plan.arrays for name in names):
                arrays = {name: value for name, value in scene.plan.arrays.items() if name not in names}
                yield Plan(scene.plan.settings, arrays, scene.plan.spec)


class NotClipped(AlteredPlan):
    name, words = "gradients not clipped", "gradients of steps are taken as they are"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        if scene.plan.settings.clip is not None:
            yield with_settings(scene.plan, clip=None)


class LabelsAlike(AlteredPlan):
    name, words = "label weights left out", "all labels count alike in the loss"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        if scene.plan.settings.label_weights:
            yield with_settings(scene.plan, label_weights=())


class NotNormalised(AlteredPlan):
    name, words = (
        "inputs not normalised",
        "inputs are given without taking off the mean and dividing by the deviation",
    )

    def altered(self, scene: Scene) -> Iterator[Plan]:
        if scene.plan.settings.data.mean:
            yield with_settings(scene.plan, data=replace(scene.plan.settings.data, mean=(), std=()))


class OtherDraws(AlteredPlan):
    name, words = "other draws", "transforms or dropout of a client are drawn from another seed"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        tasks = scene.cohort
        for more in (1, -1) if "task_seeds" in scene.plan.arrays else ():
            for chosen in ([scene.position] if scene.position is not None else []), range(len(tasks)):
                changed = [replace(t, seed=t.seed + more) if n in chosen else t for n, t in enumerate(tasks)]
                yield with_cohort(scene.plan, scene.number, changed)


def toggled(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a component document with one of its switches turned; what is off is left out."""
    left = {key: value for key, value in document.items() if key != name}
    return left if document.get(name) else {**left, name: True}
