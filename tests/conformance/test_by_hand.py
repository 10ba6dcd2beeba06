"""Whole experiments by hand: pictures, batch norm, kept optimizers, schedules and metrics in float64 of our own.

Each plan runs on `local`; the numpy execution (`tests/by_hand`) takes every round from the state before it, and must
come to the state after it within a certificate's tolerance. Flower is bit for bit the same, so it is held to it, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flspec.compiler.compile import compile
from flspec.execution.client_state import with_every_participant
from flspec.execution.rounds import initial_state
from flspec.layers import Activation, AveragePool, BatchNorm, Conv, Flatten
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state
from flspec.runs.result import Result
from flspec.runs.runner import execute_plan
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend
from tests.by_hand.execution import ByHand, Round, wrong
from tests.conformance.graphs import Graph
from tests.conformance.harness import Engines

CROP = "{kind: random_crop, size: 7, padding: 1}, {kind: horizontal_flip}"
TURN = "{kind: rotation, degrees: 25}, {kind: random_resized_crop, size: 7, scale: [0.5, 1]}, {kind: vertical_flip}"
TESTED = "[{kind: centre_crop, size: 6}, {kind: resize, size: 7}]"
METRICS = "[loss, accuracy, balanced_accuracy, macro_f1, top_3_accuracy, brier, calibration_error, macro_roc_auc]"
# name: transforms in training, batch norm's statistics, client, aggregator
PLANS = {
    "averaged": (
        CROP,
        "averaged",
        "{epochs: 1, batch_size: 20, max_examples: 50, clip: {norm: 0.4}, optimizer: {kind: sgd, learning_rate: 0.3,"
        " momentum: 0.8, nesterov: true, weight_decay: 0.1, state: kept, schedule: {kind: cosine, final: 0.1}}}",
        "{kind: fedavgm, momentum: 0.5, schedule: {kind: warmup, rounds: 2, start: 0.5}}",
    ),
    "fedbn": (
        TURN,
        "local",
        "{steps: 3, batch_size: 16, clip: {norm: 0.3, by: tensor}, optimizer: {kind: adam, learning_rate: 0.02,"
        " epsilon: 0.001, weight_decay: 0.05, state: kept, schedule: {kind: step, every: 1, decay: 0.5}}}",
        "{kind: fedadam, learning_rate: 0.05, schedule: {kind: exponential, decay: 0.7}}",
    ),
    "plateau": (
        CROP,
        "averaged",
        "{epochs: 3, batch_size: 40, max_examples: 60, optimizer: {kind: adamw, learning_rate: 0.05, epsilon: 0.001,"
        " weight_decay: 0.1, state: kept,"
        " schedule: {kind: plateau, metric: accuracy, patience: 0, decay: 0.5, threshold: 0.2}}}",
        "{kind: fedyogi, learning_rate: 0.05, weighting: uniform}",
    ),
}
every_plan = pytest.mark.parametrize("name", PLANS)
Compared = Mapping[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]  # before, after, after by hand; by place


@cache
def planned(name: str) -> Plan:
    transforms, policy, client, aggregator = PLANS[name]
    statistics: Any = policy
    spec = parse_spec(f"""
flspec: 1
name: {name}
seed: 5
rounds: 3
dataset: {{kind: digits, normalise: half, train_transforms: [{transforms}], test_transforms: {TESTED}}}
partition: {{kind: sizes, sizes: [40, 60, 90, 120, 150], holdout: 0.2}}
model: {{kind: softmax_regression}}
client: {client}
cohort: {{kind: uniform, size: 3}}
aggregator: {aggregator}
evaluation: {{metrics: {METRICS}}}
""")
    graph = (
        Conv(name="conv", channels=4, kernel_size=3, stride=2, padding=1, bias=False),
        BatchNorm(name="norm", statistics=statistics),
        Activation(name="tanh", function="tanh"),
        AveragePool(name="pool", size=2),
        Flatten(name="flatten"),
    )
    with warnings.catch_warnings(action="ignore"):  # pydantic's, of a model that no spec can name
        return compile(spec.model_copy(update={"model": Graph(graph=graph)}))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`runs(name)` gives a plan's states, from round 0 on, and its result on `local`."""

    @cache
    def run(name: str) -> tuple[list[ServerState], Result]:
        plan, folder = planned(name), tmp_path_factory.mktemp(name)
        result = execute_plan(LocalBackend(), "local", plan, Job(folder, keep="all"))
        kept = [load_state(kept_state(folder, number), plan.digest) for number in range(1, plan.num_rounds + 1)]
        return [with_every_participant(plan, state) for state in (initial_state(plan), *kept)], result

    return run


def compared(before: ServerState, after: ServerState, by_hand: Round) -> dict[str, Compared]:
    """Every tensor of a round by what moves with it: all weights together, or one record."""
    groups: dict[str, Any] = {"weights": {}}
    for name, value in by_hand.weights.items():
        groups["weights"][name] = before.weights[name], after.weights[name], value
    for slot, values in by_hand.slots.items():
        ours, theirs = before.optimizer.slots[slot], after.optimizer.slots[slot]
        groups[slot] = {name: (ours[name], theirs[name], value) for name, value in values.items()}
    for client, records in by_hand.clients.items():
        assert records.keys() == after.clients.get(client, {}).keys()
        for record, values in records.items():
            group = groups.setdefault("weights" if record == "weights" else f"clients/{record}", {})
            for name, value in values.items():
                start = before.clients.get(client, {}).get(record, {}).get(name, np.zeros_like(value))
                group[f"clients/{client}/{record}/{name}"] = start, after.clients[client][record][name], value
    return groups


def of_tolerance(before: ServerState, after: ServerState, by_hand: Round) -> float:
    """The largest share that a tensor uses of 2^-23 (4 its largest magnitude + 64 the largest movement beside it)."""
    shares = []
    for group in compared(before, after, by_hand).values():
        movement = max(float(np.abs(now.astype(np.float64) - was).max()) for was, now, _ in group.values())
        for _, now, expected in group.values():
            tolerance = 2.0**-23 * (4 * float(np.abs(now).max()) + 64 * movement)
            difference = float(np.abs(now - expected).max())
            shares.append(difference / tolerance if difference else 0.0)
    return max(shares)


@every_plan
def test_each_round_is_what_the_definitions_say(runs, name):
    states, result = runs(name)
    for number, expected in enumerate(ByHand(planned(name)).rounds(states[:-1]), start=1):
        assert of_tolerance(states[number - 1], states[number], expected) < 1.0, number
        reported = result.rounds[number - 1].train
        assert reported["loss"] == pytest.approx(expected.train["loss"], rel=1e-5)
        assert reported["accuracy"] == pytest.approx(expected.train["accuracy"], abs=1e-6)


@every_plan
def test_flower_comes_to_the_same_bits(runs, engines: Engines, tmp_path, name):
    case = engines.certify(planned(name), ("flower:inprocess",), tmp_path / "certificate")
    assert case.verdict("flower:inprocess").verdict == "equivalent", case.verdict("flower:inprocess").reason
    assert case.verdict("flower:inprocess").bitwise
    for weight, value in runs(name)[0][-1].weights.items():
        assert np.array_equal(case.states("flower:inprocess")[-1].weights[weight], value)


def test_some_clients_rate_falls_and_is_kept(runs):
    """Else the plan would say nothing of plateaus."""
    falls = [float(records["schedule"]["plateau"][2]) for records in runs("plateau")[0][-1].clients.values()]
    assert max(falls) >= 2
    assert len(set(falls)) > 1


@every_plan
def test_each_evaluation_is_what_the_definitions_say(runs, name):
    states, result = runs(name)
    by_hand = ByHand(planned(name))
    for number, record in enumerate(result.rounds, start=1):
        expected = by_hand.evaluation(states[number])
        assert record.evaluation is not None
        for where, values in expected.items():
            assert record.evaluation[where] == pytest.approx(values, rel=2e-5, abs=2e-6), (number, where)
        assert expected.keys() <= record.evaluation.keys()


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("averaged", {"client": {"clip": None}}),
        ("averaged", {"client": {"clip": {"norm": 0.4, "by": "tensor"}}}),
        ("averaged", {"dataset": {"normalise": "none"}}),
        ("averaged", {"dataset": {"train_transforms": [{"kind": "centre_crop", "size": 7}]}}),
        ("averaged", {"aggregator": {"schedule": None}}),
        ("averaged", {"client": {"max_examples": 49}}),
        ("averaged", {"aggregator": {"weighting": "uniform"}}),
        ("fedbn", {"dataset": {"train_transforms": [{"kind": "resize", "size": 7}]}}),
        ("fedbn", {"aggregator": {"bias_correction": False}}),
        ("plateau", {"aggregator": {"weighting": "examples"}}),
    ],
    ids=str,
)
def test_another_experiment_with_the_same_draws_is_told_apart(runs, name, sections):
    (before, after, *_), _ = runs(name)
    assert of_tolerance(before, after, wrong(planned(name), **sections).round(1, before)) > 1.0


@pytest.mark.parametrize(
    "changes",
    [{"test_transforms": [{"kind": "resize", "size": 7}]}, {"normalise": "none"}],
    ids=str,
)
def test_another_look_at_the_test_set_is_told_apart(runs, changes):
    states, result = runs("fedbn")
    expected = wrong(planned("fedbn"), dataset=changes).evaluation(states[-1])
    assert result.final
    for where in ("test", "clients/mean"):
        assert result.final.evaluation[where] != pytest.approx(expected[where], rel=1e-3)
