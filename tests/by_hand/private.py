"""The server's part of a private round in float64, from a spec: what no code of flspec's mechanism is shared with.

McMahan et al., ICLR 2018, Algorithm 1, with uniform weights and the estimator of a fixed denominator; with an adaptive
clip Andrew et al., NeurIPS 2021, Algorithm 1 and Theorem 1. Noise is the planned stream's normal values by the inverse
distribution function of Python's standard library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flspec.protocol.plan import Plan
from tests.by_hand.draws import uniforms

RECORD = "postprocessors/0"  # where the server keeps the clip
Tensors = dict[str, NDArray[np.float64]]


def first_clip(spec: Mapping[str, Any]) -> float | None:
    """The clip before the first round, as a server keeps it; None without privacy."""
    rule = (spec.get("privacy") or {}).get("clip")
    return rule and float(np.float32(rule["norm"] if rule["kind"] == "fixed" else rule["initial"]))


@dataclass(frozen=True)
class PrivateRound:
    """One round's mechanism."""

    privacy: Mapping[str, Any]  # the spec's section, with a noise multiplier
    cohort: float  # expected clients
    seed: int  # of the round
    clip: float  # that the server has before the round

    @classmethod
    def of(cls, plan: Plan, number: int, clip: float) -> PrivateRound:
        """The mechanism of round `number`, from 0."""
        cohort = float(plan.spec["cohort"].get("size", plan.num_clients))
        return cls(plan.spec["privacy"], cohort, int(plan.arrays["round_seeds"][number]), clip)

    def mean(self, deltas: Sequence[Tensors], weights: Tensors) -> Tensors:
        """The noised mean of finite updates of these weights; of none it is noise."""
        bounded = [self.bounded(delta) for delta in deltas]
        deviation = self.update_noise * self.clip / self.noise_cohort
        return {
            name: sum((delta[name] for delta in bounded), np.zeros(value.shape)) / self.divisor(len(deltas))
            + deviation * self.normal(value.size, "update", name).reshape(value.shape)
            for name, value in weights.items()
        }

    def next_clip(self, deltas: Sequence[Tensors]) -> float:
        """The clip after the round: C exp(-rate (b - quantile)), b the noised share of the cohort within C."""
        rule = self.privacy["clip"]
        if rule["kind"] == "fixed":
            return self.clip
        halves = sum(0.5 if self.length(delta) <= self.clip else -0.5 for delta in deltas)
        share = 0.5 + halves / self.divisor(len(deltas)) + self.noise_on_share
        return self.clip * math.exp(-rule["rate"] * (min(max(share, 0.0), 1.0) - rule["quantile"]))

    def bounded(self, delta: Tensors) -> Tensors:
        factor = min(1.0, self.clip / length) if (length := self.length(delta)) else 1.0
        return {name: factor * value for name, value in delta.items()}

    def length(self, delta: Tensors) -> float:
        return math.sqrt(math.fsum(float(x) ** 2 for value in delta.values() for x in value.ravel()))

    def divisor(self, num_updates: int) -> float:
        return self.cohort

    @property
    def noise_cohort(self) -> float:
        return self.privacy["noise_cohort"] or self.cohort

    @property
    def count_noise(self) -> float | None:
        if self.privacy["clip"]["kind"] == "fixed":
            return None
        return float(self.privacy["clip"]["noise_on_count"] or self.noise_cohort / 20)

    @property
    def update_noise(self) -> float:
        """What is left for the updates, so that both Gaussians together are one of the spec's multiplier."""
        whole: float = self.privacy["noise_multiplier"]
        if self.count_noise is None or not whole:
            return whole
        return 1 / math.sqrt(1 / whole**2 - 1 / (2 * self.count_noise) ** 2)

    @property
    def noise_on_share(self) -> float:
        if self.count_noise is None or not self.privacy["noise_multiplier"]:
            return 0.0
        return self.count_noise / self.noise_cohort * float(self.normal(1, "count")[0])

    def normal(self, number: int, *name: str) -> NDArray[np.float64]:
        drawn = uniforms(number, self.seed, "postprocessors", "combined", RECORD, *name)
        return np.array([NormalDist().inv_cdf(value) for value in drawn])
