"""Private rounds and rounds of few are what their definitions say on every backend, and wrong mechanisms are caught.

That backends agree on these plans, clip included, is asked in `test_agreement.py` with that of all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.protocol.backend import Job
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import ServerState
from flspec.runs.runner import execute_plan
from flspec.spec.spec import Spec
from tests.by_hand.private import RECORD, PrivateRound, Tensors
from tests.conformance.harness import BACKENDS, Certified, Engines
from tests.conformance.plans import PRIVATE, SAMPLED
from tests.oracle import execute_dense, rounded

ROUNDING = 1e-6  # as in test_numpy.py
COINS, NOISED_COINS = "tanh-sgd-fedavg-plain-coins", "tanh-sgd-uniform_fedavgm-plain-noised_coins"
ADAPTIVE, DIVERGING = "tanh-sgd-uniform_fedadam-plain-adaptive", "softmax-diverging-uniform-one_large-everybody"
AGAIN = "softmax-diverging-uniform-one_large-again"
SMOOTH = [name for name in SAMPLED if name.startswith("tanh-")]
every_backend = pytest.mark.parametrize("backend", ["local", *BACKENDS])
Get = Callable[[str, str], Certified]


def deviation(case: Certified, states: Sequence[ServerState], mechanism: type[PrivateRound] = PrivateRound) -> float:
    """The largest difference of any weight, slot or clip from the execution by hand, each round in its own start."""
    by_hand = execute_dense(case.plan, starts=states[:-1], mechanism=mechanism)
    return max(_apart(expected, state) for expected, state in zip(by_hand, states[1:], strict=True))


def _apart(expected: Mapping[str, Any], state: ServerState) -> float:
    slots = {slot: expected["slots"][slot] for slot in state.optimizer.slots}
    pairs = [(expected["weights"], state.weights), *((slots[s], state.optimizer.slots[s]) for s in slots)]
    if expected["clip"]:
        pairs.append(({"clip": expected["clip"]}, state.records[RECORD]))
    return max(float(np.abs(ours[name] - theirs[name]).max()) for ours, theirs in pairs for name in ours)


@pytest.mark.parametrize("name", SMOOTH)
@every_backend
def test_each_round_is_what_the_definitions_say(certified: Get, name: str, backend: str) -> None:
    case = certified(name, backend)
    assert deviation(case, case.states(backend)) <= ROUNDING


@every_backend
def test_a_round_without_a_client_changes_nothing(certified: Get, backend: str) -> None:
    case = certified(COINS, backend)
    states, sizes = case.states(backend), [len(record.cohort) for record in case.result(backend).rounds]
    assert sizes == [3, 1, 0, 0, 1, 0]
    for size, before, after in zip(sizes, states, states[1:], strict=False):
        same = all(np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)
        assert same is (size == 0)
        assert after.optimizer.step == before.optimizer.step + (size > 0)


@every_backend
def test_a_private_round_without_a_client_releases_noise(certified: Get, backend: str) -> None:
    case = certified(NOISED_COINS, backend)
    states, sizes = case.states(backend), [len(record.cohort) for record in case.result(backend).rounds]
    assert sizes == [3, 1, 0, 0, 1, 0]
    for before, after in pairwise(states):
        assert after.optimizer.step == before.optimizer.step + 1
        for name, weight in before.weights.items():
            assert (after.weights[name] != weight).mean() > 0.99
        assert after.records[RECORD]["clip"] != before.records[RECORD]["clip"]


@every_backend
def test_a_client_whose_update_is_not_finite_counts_as_zero(certified: Get, backend: str) -> None:
    case = certified(DIVERGING, backend)
    rounds = case.result(backend).rounds
    assert [[one.client for one in record.failures] for record in rounds] == [[2]] * 6
    rate = case.plan.settings.aggregator["learning_rate"]
    for number, (before, after) in enumerate(pairwise(case.states(backend))):
        weights = rounded(before.weights)
        huge = [squared_error_step(case.plan, weights, task) for task in case.plan.cohort(number + 1)[:2]]
        mean = PrivateRound.of(case.plan, number, 0.5).mean(huge, weights)
        for name, value in weights.items():
            np.testing.assert_allclose(after.weights[name], value + rate * mean[name], rtol=0, atol=ROUNDING)


@every_backend
def test_a_client_that_is_drawn_again_trains_again_and_is_dropped_each_time(certified: Get, backend: str) -> None:
    case = certified(AGAIN, backend)
    for record, number in zip(case.result(backend).rounds, range(1, 7), strict=True):
        tasks = case.plan.cohort(number)
        assert len(tasks) == len(record.cohort) == 6  # draws of three clients
        assert [one.client for one in record.failures] == [task.client for task in tasks if task.client == 2]
        assert max(record.cohort.count(client) for client in record.cohort) >= 2
    assert any(len(record.failures) > 1 for record in case.result(backend).rounds)


def squared_error_step(plan: Plan, weights: Tensors, task: ClientTask) -> Tensors:
    """The change by one step of a linear model along the mean squared error of its only batch."""
    (batch,), train = task.batches, open_data(plan.settings.data).train
    inputs = np.asarray(train.inputs(batch), np.float64).reshape(len(batch), -1)
    outputs = inputs @ weights["output.weight"].T + weights["output.bias"]
    error = 2 * (outputs - np.eye(outputs.shape[1])[train.labels[batch]]) / outputs.size
    rate = plan.settings.client_optimizer["learning_rate"]
    return {"output.weight": -rate * error.T @ inputs, "output.bias": -rate * error.sum(axis=0)}


class NoiseOfAnotherRound(PrivateRound):
    @classmethod
    def of(cls, plan: Any, number: int, clip: float) -> PrivateRound:
        return super().of(plan, (number + 1) % plan.num_rounds, clip)


class DividedByReplies(PrivateRound):
    def divisor(self, num_updates: int) -> float:
        return num_updates or 1


class OneNoiseForAll(PrivateRound):
    def normal(self, number: int, *name: str) -> Any:
        return super().normal(number, name[0], "hidden_1.weight") if len(name) > 1 else super().normal(number, *name)


class ClippedByTensor(PrivateRound):
    def bounded(self, delta: Tensors) -> Tensors:
        return {name: super(ClippedByTensor, self).bounded({name: value})[name] for name, value in delta.items()}


class WholeNoiseOnUpdates(PrivateRound):
    @property
    def update_noise(self) -> float:
        return float(self.privacy["noise_multiplier"])


class NoNoiseOnCount(PrivateRound):
    noise_on_share = 0.0


class AdaptsBackwards(PrivateRound):
    def next_clip(self, deltas: Sequence[Tensors]) -> float:
        return self.clip**2 / super().next_clip(deltas)


class NoiseByTheNewClip(PrivateRound):
    def mean(self, deltas: Sequence[Tensors], weights: Tensors) -> Tensors:
        new = type(self)(self.privacy, self.cohort, self.seed, self.next_clip(deltas))
        old, later = (PrivateRound.mean(one, [], weights) for one in (self, new))
        mean = super().mean(deltas, weights)
        return {name: mean[name] - old[name] + later[name] for name in mean}


@pytest.mark.parametrize(
    "wrong",
    [
        NoiseOfAnotherRound,
        DividedByReplies,
        OneNoiseForAll,
        ClippedByTensor,
        WholeNoiseOnUpdates,
        NoNoiseOnCount,
        AdaptsBackwards,
        NoiseByTheNewClip,
    ],
)
def test_the_execution_by_hand_tells_a_wrong_mechanism(certified: Get, wrong: type[PrivateRound]) -> None:
    case = certified(ADAPTIVE, "local")
    states = case.states("local")
    assert deviation(case, states) <= ROUNDING
    assert deviation(case, states, wrong) > 100 * ROUNDING


def test_the_plans_have_what_they_are_for(certified: Get) -> None:
    assert len(PRIVATE) == len({name for name in SAMPLED if name != COINS})
    clips = [float(state.records[RECORD]["clip"]) for state in certified(ADAPTIVE, "local").states("local")]
    assert len(set(clips)) == len(clips)  # it adapts in every round


CLIP = {"norm": 0.3}


def private_digits(**sections: Any) -> Plan:
    privacy = sections.pop("privacy", None)
    spec = {
        "flspec": 1,
        "name": "clipped",
        "rounds": 5,
        "dataset": {"kind": "digits"},
        "partition": {"kind": "iid", "clients": 12},
        "model": {"kind": "mlp", "hidden": [16], "activation": "tanh"},
        "client": {"epochs": 1, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        "cohort": {"kind": "all"},
        "aggregator": {"kind": "fedavg", "weighting": "uniform"},
    }
    promise = {"privacy": privacy | {"delta": 1e-3}} if privacy else {}
    return compile(Spec.model_validate_json(json.dumps(spec | promise | sections)))


def far(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def test_without_noise_tff_is_a_run_with_a_clip_alone_within_rounding(engines: Engines, tmp_path: Path) -> None:
    """TFF has no postprocessors but the private mean; so its run without noise is held to `local` with a clip."""
    plans = {
        "tff": private_digits(privacy={"kind": "central", "clip": CLIP | {"kind": "fixed"}, "noise_multiplier": 0.0}),
        "local": private_digits(postprocessors=[CLIP | {"kind": "clip_update"}]),
        "unclipped": private_digits(),
    }
    weights = {}
    for name, plan in plans.items():
        backend = name.replace("unclipped", "local")
        (tmp_path / name).mkdir()
        result = execute_plan(engines(backend), backend, plan, Job(tmp_path / name, workers=2))
        assert result.weights
        weights[name] = load_file(tmp_path / name / result.weights.path)
    assert far(weights["tff"], weights["local"]) <= 1e-5
    assert far(weights["unclipped"], weights["local"]) > 1e-3
