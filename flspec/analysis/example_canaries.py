"""Trials of a plan's private steps (DP-SGD), carried out by the reference backend: each has an example as its canary.

A client of a plan made for this takes one step a round, so that whoever reads its updates sees each noised gradient, as
accounting has it. Its model is one dense layer, and its loss the squared error. At weights of zero, an example with one
input and one label then has a gradient in a single weight: an example is the canary of a trial of its own, with coins
and a clip of its own, and that weight is where the trial is seen. The learning rate is so small that weights stay zero
beside what an example asks for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flspec.analysis.canaries import BEYOND, Canaries, Floats, coin, log_ratio
from flspec.core.randomness import Stream
from flspec.data.examples import Data, Split
from flspec.data.store import store_data
from flspec.models.softmax_regression import SoftmaxRegression
from flspec.privacy.spending import Cost
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.batch_rule import poisson_batch
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.registry import REFERENCE, find_backend
from flspec.protocol.settings import DataSettings, EvaluationSettings, PlanSettings, PrivateSteps
from flspec.protocol.state import load_state

__all__ = ["CanariesInBatches"]

_SIDE = 64  # inputs, and outputs
_AT_ONCE = _SIDE**2  # trials in one execution: as many as there are weights
_STEP = 1e-6  # how far a step moves a weight, in units of what an example asks for

Integers = NDArray[np.int64]


class CanariesInBatches(Canaries):
    """Examples of the client whose examples pay most, seen by a server that reads each of its steps."""

    def __init__(self, plan: Plan, cost: Cost, trials: int) -> None:
        assert plan.settings.private_steps is not None
        self._bound: PrivateSteps = plan.settings.private_steps
        self._cost, self._trials = cost, trials
        self._data = _one_example_a_weight(self._bound.norm)

    def statistics(self, direction: float, stream: Stream) -> Floats:
        parts = [
            self._of_some(direction, min(_AT_ONCE, self._trials - start), stream.child(start))
            for start in range(0, self._trials, _AT_ONCE)
        ]
        return np.concatenate(parts)

    def _of_some(self, direction: float, trials: int, stream: Stream) -> Floats:
        facts, ratios = self._cost.facts, np.zeros(trials)
        noise, chances = self._bound.noise_multiplier, coin(facts.probability)
        empty = np.empty(0, np.int64)
        batches = [
            self._batch(trials, stream.child("batch", number)) if direction else empty
            for number in range(self._cost.releases)
        ]
        for released in self._released(batches, stream):
            ratios += log_ratio(released[:trials], noise, chances, facts.adjacency)
        return ratios

    def _batch(self, trials: int, stream: Stream) -> Integers:
        """Return the trials whose canary is in the batch: each example of a draw is the canary of another trial."""
        size, every = self._cost.facts.population, np.arange(trials)
        drawn = [
            start + poisson_batch(self._cost.facts.cohort, np.arange(size), stream.child(start))
            for start in range(0, trials, size)
        ]
        some = np.concatenate(drawn)
        return np.asarray(every[some[some < trials]])

    def _released(self, batches: Sequence[Integers], stream: Stream) -> Iterator[Floats]:
        """Yield the noised sum of clipped gradients of each step, [weights], in units of the clip."""
        expected = float(min(self._bound.batch_size, _AT_ONCE))
        rate = _STEP * expected / (_input(self._bound.norm) * self._bound.norm * (1 + self._bound.noise_multiplier))
        plan = self._plan(batches, rate, stream)
        with tempfile.TemporaryDirectory() as name:
            before = plan.weights["output.weight"]
            for number, _ in enumerate(find_backend(REFERENCE).execute(plan, Job(Path(name), keep="all", workers=1))):
                if not 1 <= number <= len(batches):  # before the first round, and after the last
                    continue
                after = load_state(kept_state(Path(name), number), plan.digest).weights["output.weight"]
                moved = after.astype(np.float64) - before
                yield moved.reshape(-1) * (expected / (rate * self._bound.norm))
                before = after

    def _plan(self, batches: Sequence[Integers], rate: float, stream: Stream) -> Plan:
        words = stream.child("noise").words(len(batches) + 4)
        seeds = (words[4:] >> np.uint64(2)).astype(np.int64).tolist()
        layers = SoftmaxRegression().layers((_SIDE,), _SIDE)
        settings = PlanSettings(
            data=self._data,
            layers=tuple(layer.model_dump(mode="json") for layer in layers),
            loss="mean_squared_error",
            client_optimizer={"kind": "sgd", "learning_rate": rate},
            aggregator={"kind": "fedavg", "weighting": "uniform"},
            evaluation=EvaluationSettings(every=1, metrics=()),
            weights=(),
            privacy=self._cost.facts,
            private_steps=self._bound,
        )
        plan = Plan.build(
            settings=settings,
            weights={name: np.zeros(shape, np.float32) for name, shape in _SHAPES.items()},
            clients=[np.arange(_AT_ONCE)],
            rounds=[[ClientTask(0, 1, (batch,), seed)] for batch, seed in zip(batches, seeds, strict=True)],
            spec={},
        )
        return plan if not self._cost.facts.secret else Plan(plan.settings, plan.arrays, {}, words[:4].tobytes())


_SHAPES = {"output.weight": (_SIDE, _SIDE), "output.bias": (_SIDE,)}


def _input(norm: float) -> float:
    """Return the input with which the gradient in a weight, 2 / _SIDE times it, is far beyond the clip and the bias."""
    return max(BEYOND, BEYOND * norm * _SIDE / 2)


def _one_example_a_weight(norm: float) -> DataSettings:
    """Store examples of one input and one label, in the order of the weights [labels, inputs], and describe them."""
    labels, inputs = np.divmod(np.arange(_AT_ONCE), _SIDE)
    split = Split(np.eye(_SIDE, dtype=np.uint8)[inputs], labels, divisor=1 / _input(norm))
    data = Data(train=split, test=split.part(slice(1)), num_classes=_SIDE)
    store_data(data)
    return data.describe()
