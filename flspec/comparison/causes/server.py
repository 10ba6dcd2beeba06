"""Causes in what the server makes of updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flspec.comparison.causes.base import AlteredPlan, Cause, Guess, Scene, with_cohort, with_settings
from flspec.comparison.causes.training import toggled
from flspec.protocol.named_records import Weights
from flspec.protocol.plan import Plan

__all__ = [
    "BiasCorrectionLate",
    "BiasCorrectionLeftOut",
    "NoiseOfAnotherRound",
    "PlainMean",
    "ServersEpsilon",
    "StatisticsNotAveraged",
    "TensorsLeftAsTheyWere",
    "UpdateScaled",
]


_NEAR = 1e-3  # relative, of a factor that is told by its meaning


class BiasCorrectionLate(Cause):
    name, words = "late bias correction", "the server's Adam counts its steps from another number"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        if scene.plan.settings.aggregator.get("kind") == "fedadam":
            for more in (1, -1):
                if scene.before.optimizer.step + more >= 0:
                    optimizer = replace(scene.before.optimizer, step=scene.before.optimizer.step + more)
                    yield Guess(scene.run(scene.plan, replace(scene.before, optimizer=optimizer)), f"off by {more:+d}")


class _Aggregator(AlteredPlan):
    """A cause that turns a switch of the server's optimizer."""

    switch: str
    kinds: tuple[str, ...] = ("fedadam", "fedyogi", "fedadagrad")

    def altered(self, scene: Scene) -> Iterator[Plan]:
        aggregator = scene.plan.settings.aggregator
        if aggregator.get("kind") in self.kinds:
            yield with_settings(scene.plan, aggregator=toggled(aggregator, self.switch))


class ServersEpsilon(_Aggregator):
    name, words = "server's epsilon elsewhere", "the server adds epsilon on the other side of the bias correction"
    switch = "epsilon_hat"
    kinds = ("fedadam",)


class BiasCorrectionLeftOut(AlteredPlan):
    name, words = (
        "bias correction",
        "the server's Adam corrects its moments where it should not, or does not where it should",
    )

    def altered(self, scene: Scene) -> Iterator[Plan]:
        aggregator = scene.plan.settings.aggregator
        if aggregator.get("kind") == "fedadam":
            corrects = aggregator.get("bias_correction", True)
            yield with_settings(scene.plan, aggregator={**aggregator, "bias_correction": not corrects})


class PlainMean(AlteredPlan):
    name, words = "server optimizer left out", "the server adds the mean update to its weights, without its optimizer"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        aggregator = scene.plan.settings.aggregator
        if aggregator.get("kind") != "fedavg":
            yield with_settings(scene.plan, aggregator={"kind": "fedavg"})


class NoiseOfAnotherRound(AlteredPlan):
    name, words = "noise of another round", "the server draws the noise that is planned for another round"

    def altered(self, scene: Scene) -> Iterator[Plan]:
        arrays = scene.plan.arrays
        for shift in (-1, 1) if "round_seeds" in arrays else ():
            seeds = np.roll(arrays["round_seeds"], shift)
            yield Plan(scene.plan.settings, {**arrays, "round_seeds": seeds}, scene.plan.spec)


class UpdateScaled(Cause):
    """All weights move in the right direction, by a multiple: a sum in place of a mean, another server rate."""

    name, words = "update scaled", "the server moves its weights by a multiple of what it should"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        ours, theirs = (self._moved(scene, weights) for weights in (scene.ours, scene.theirs))
        if not (length := sum(float(np.vdot(one, one)) for one in ours.values())):
            return
        factor = sum(float(np.vdot(ours[name], theirs[name])) for name in ours) / length
        scales, num = scene.scales, len(scene.cohort)
        weights: Weights = {
            name: (one + factor * ours[name] * scales[name]).astype(np.float32)
            for name, one in scene.before.weights.items()
        }
        is_sum = num > 1 and abs(factor / num - 1) < _NEAR
        meaning = ", the size of the cohort: a sum in place of a mean" if is_sum else ""
        yield Guess(weights, f"by {factor:.4g}{meaning}")

    def _moved(self, scene: Scene, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return how far each weight moved, by the scale of its tensor."""
        scales, before = scene.scales, scene.before.weights
        return {name: (weights[name].astype(np.float64) - one) / scales[name] for name, one in before.items()}


class TensorsLeftAsTheyWere(Cause):
    name, words = "tensors left as they were", "the server does not change some of its tensors"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        before = scene.before.weights
        same = [name for name, value in before.items() if (scene.theirs[name] == value).all()]
        if still := [name for name in same if (scene.ours[name] != before[name]).any()]:
            yield Guess(
                {name: before[name] if name in still else value for name, value in scene.ours.items()}, ", ".join(still)
            )


class StatisticsNotAveraged(Cause):
    """Running statistics of one client in place of all clients' mean."""

    name, words = "statistics not averaged", "running statistics are those of one client, not the mean of all"

    def guesses(self, scene: Scene) -> Iterator[Guess]:
        tasks = scene.cohort if scene.plan.statistics else ()
        for task in dict.fromkeys((tasks[0], tasks[-1])) if len(tasks) > 1 else ():
            alone = scene.run(with_cohort(scene.plan, scene.number, [task]), scene.before)
            mixed = {
                name: alone[name] if name in scene.plan.statistics else value for name, value in scene.ours.items()
            }
            yield Guess(mixed, f"of client {task.client}")
