"""Flower's own strategies in place of flspec's definitions: the stated deviation is what closed forms of both say.

`theirs` is what Flower's code does, `ours` the definition, both in float64 numpy on one vector of all values. Each is
given the round, the weights w, the slots, the clients' updates [num, values] and their examples [num], and returns the
next weights and slots.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flspec.aggregators import Aggregator
from flspec.aggregators.bulyan import Bulyan
from flspec.aggregators.fedadagrad import FedAdagrad
from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.aggregators.fedavgm import FedAvgM
from flspec.aggregators.fedyogi import FedYogi
from flspec.aggregators.krum import Krum
from flspec.aggregators.median import Median
from flspec.aggregators.multi_krum import MultiKrum
from flspec.aggregators.trimmed_mean import TrimmedMean
from flspec.execution.native import NativeStep
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.native import definition_of
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.state import OptimizerState, ServerState
from flspec.protocol.updates import ClientUpdate, as_tensors, as_vector
from tests.conformance.harness import require
from tests.plan_settings import settings_with

NUM, ROUNDS = 7, 4
WEIGHTS = {
    "output.weight": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "output.bias": np.ones(3, np.float32),
}
EXAMPLES = np.array([3, 5, 8, 13, 4, 6, 20])

Vector = NDArray[np.float64]
Slots = Mapping[str, Vector]
Rule = Callable[[int, Vector, Slots, Vector, Vector], tuple[Vector, Slots]]


def mean(updates: Vector, examples: Vector) -> Vector:
    return np.average(updates, axis=0, weights=examples)


def adam(late: int) -> Rule:
    """Kingma and Ba's second form, with the bias of update t + `late` corrected."""

    def step(t: int, w: Vector, slots: Slots, updates: Vector, examples: Vector) -> tuple[Vector, Slots]:
        delta = mean(updates, examples)
        m = 0.9 * slots["first_moment"] + 0.1 * delta
        v = 0.99 * slots["second_moment"] + 0.01 * delta**2
        rate = 0.02 * np.sqrt(1 - 0.99 ** (t + late)) / (1 - 0.9 ** (t + late))
        return w + rate * m / (np.sqrt(v) + 1e-3), {"first_moment": m, "second_moment": v}

    return step


def yogi(t: int, w: Vector, slots: Slots, updates: Vector, examples: Vector) -> tuple[Vector, Slots]:
    delta, v = mean(updates, examples), slots["second_moment"]
    m = 0.9 * slots["first_moment"] + 0.1 * delta
    v = v - 0.01 * delta**2 * np.sign(v - delta**2)
    return w + 0.02 * m / (np.sqrt(v) + 1e-3), {"first_moment": m, "second_moment": v}


def adagrad(t: int, w: Vector, slots: Slots, updates: Vector, examples: Vector) -> tuple[Vector, Slots]:
    delta = mean(updates, examples)
    v = slots["accumulator"] + delta**2
    return w + 0.02 * delta / (np.sqrt(v) + 1e-3), {"accumulator": v}


def momentum(t: int, w: Vector, slots: Slots, updates: Vector, examples: Vector) -> tuple[Vector, Slots]:
    velocity = 0.9 * slots["momentum"] + mean(updates, examples)
    return w + 0.5 * velocity, {"momentum": velocity}


def combined(rule: Callable[[Vector, Vector], Vector]) -> Rule:
    """A rule that adds what it combines the updates into."""
    return lambda t, w, slots, updates, examples: (w + rule(updates, examples), {})


def krum_order(updates: Vector, f: int) -> list[int]:
    distances = ((updates[:, None] - updates[None]) ** 2).sum(axis=2)
    scores = np.sort(distances, axis=1)[:, 1 : 1 + max(1, len(updates) - f - 2)].sum(axis=1)
    return list(np.argsort(scores, kind="stable"))  # at the end two updates share their nearest other


def around_median(picked: Vector) -> Vector:
    """The mean of the three values nearest to the median, as with five picks and f = 1."""
    away = np.argsort(np.abs(picked - np.median(picked, axis=0)), axis=0)[:3]
    return np.asarray(np.take_along_axis(picked, away, axis=0).mean(axis=0))


def bulyan(updates: Vector, examples: Vector) -> Vector:
    left, picked = list(range(NUM)), list[int]()
    while len(picked) < NUM - 2:
        picked.append(left.pop(krum_order(updates[left], 1)[0]))
    return around_median(updates[picked])


def chosen(updates: Vector, examples: Vector, weigh: bool) -> Vector:
    best = krum_order(updates, 1)[:3]
    return np.average(updates[best], axis=0, weights=examples[best] if weigh else None)


@dataclass(frozen=True)
class Case:
    aggregator: Aggregator
    theirs: Rule
    ours: Rule
    deviates: bool = False  # by more than rounding
    starts: Mapping[str, float] = field(default_factory=dict)


def same(aggregator: Aggregator, rule: Rule, *slots: str) -> Case:
    return Case(aggregator, rule, rule, starts=dict.fromkeys(slots, 0.0))


RATE: dict[str, Any] = {"learning_rate": 0.02, "initial_accumulator": 0.0}
MOMENTS = ("first_moment", "second_moment")
CASES = {
    "fedavg": same(FedAvg(), combined(mean)),
    "fedavgm": same(FedAvgM(learning_rate=0.5, momentum=0.9), momentum, "momentum"),
    "fedadam": Case(FedAdam(epsilon_hat=True, **RATE), adam(1), adam(0), True, dict.fromkeys(MOMENTS, 0.0)),
    "fedyogi": same(FedYogi(**RATE), yogi, *MOMENTS),
    "fedadagrad": same(FedAdagrad(**RATE), adagrad, "accumulator"),
    "median": same(Median(), combined(lambda updates, _: np.median(updates, axis=0))),
    "trimmed_mean": same(TrimmedMean(f=2), combined(lambda updates, _: np.sort(updates, axis=0)[2:5].mean(axis=0))),
    "krum": same(Krum(f=2), combined(lambda updates, _: updates[krum_order(updates, 2)[0]])),
    # Flower weighs those chosen by their examples.
    "multi_krum": Case(
        MultiKrum(f=1, m=3),
        combined(lambda updates, examples: chosen(updates, examples, weigh=True)),
        combined(lambda updates, examples: chosen(updates, examples, weigh=False)),
        deviates=True,
    ),
    # Flower scores once, where Bulyan scores anew after each pick.
    "bulyan": Case(
        Bulyan(f=1),
        combined(lambda updates, _: around_median(updates[krum_order(updates, 1)[:5]])),
        combined(bulyan),
        deviates=True,
    ),
}


def plan_of(aggregator: Aggregator) -> Plan:
    """A plan of which only the server's half matters; a client's batches are as many examples as it counts for."""
    ends = np.cumsum(EXAMPLES)
    indices = np.split(np.arange(ends[-1]), ends[:-1])
    uniform = not hasattr(aggregator, "weighting")
    tasks = [[ClientTask(client, 1 if uniform else len(own), (own,)) for client, own in enumerate(indices)]] * ROUNDS
    settings = settings_with(aggregator=aggregator.model_dump(mode="json"))
    return Plan.build(settings=settings, weights=WEIGHTS, clients=indices, rounds=tasks, spec={})


def updates_of(plan: Plan, number: int) -> list[ClientUpdate]:
    """Seven updates around a direction of the round, in no order."""
    rng = np.random.default_rng(number)
    about = rng.normal(size=15)
    deltas = (about + 0.7 * rng.normal(size=(NUM, 15))).astype(np.float32) * np.float32(0.05)
    made = [
        ClientUpdate(task.client, as_tensors(deltas[task.client], WEIGHTS), task.weight, task.num_trained, {})
        for task in plan.cohort(number)
    ]
    return made[3:] + made[:3]


def check_rounds(case: Case, step_of: Callable[[Plan], NativeStep | None]) -> list[float]:
    """Hold the rounds of a native plan to both closed forms, and return their largest deviations."""
    plan = plan_of(case.aggregator.model_copy(update={"implementation": "native"}))
    step, state = step_of(plan), initial_state(plan)
    assert {slot: float(values["output.bias"][0]) for slot, values in state.optimizer.slots.items()} == case.starts
    deviations = []
    for number in range(1, ROUNDS + 1):
        updates, w = updates_of(plan, number), as_vector(state.weights).astype(float)
        slots = {slot: as_vector(values).astype(float) for slot, values in state.optimizer.slots.items()}
        deltas = np.array([as_vector(update.delta) for update in sorted(updates, key=lambda one: one.client)], float)
        theirs, kept = case.theirs(number, w, slots, deltas, EXAMPLES)
        ours, _ = case.ours(number, w, slots, deltas, EXAMPLES)
        outcome = finish_round(plan, state, updates, step)
        assert outcome.deviation
        np.testing.assert_allclose(as_vector(outcome.state.weights), theirs, atol=3e-7)
        for slot, values in kept.items():
            np.testing.assert_allclose(as_vector(outcome.state.optimizer.slots[slot]), values, atol=1e-7)
        apart, moved = np.abs(theirs - ours).max(), np.abs(ours - w).max()
        assert outcome.deviation.largest == pytest.approx(apart, abs=3e-7)
        assert outcome.deviation.relative == pytest.approx(apart / moved, abs=3e-7 / moved + 1e-9)
        deviations.append(apart)
        state = outcome.state
    return deviations


@pytest.fixture(autouse=True)
def _no_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's Bulyan collects garbage after each client's arrays, which takes a third of a second each."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def flower(plan: Plan) -> NativeStep | None:
    require("flower:inprocess")
    from flwr.clientapp import ClientApp

    from flspec_flower.inprocess import InProcessGrid
    from flspec_flower.strategies import strategy_step

    with ThreadPoolExecutor(1) as pool:
        InProcessGrid(ClientApp(), 0, pool)  # whose run the messages are of
    return strategy_step(plan)


def definition_as_native(plan: Plan) -> NativeStep:
    """The wrong backend: it has the definition, and says that it is its own algorithm."""

    def step(
        state: ServerState, updates: Sequence[ClientUpdate]
    ) -> tuple[OptimizerState, dict[str, NDArray[np.float32]]]:
        after = finish_round(definition_of(plan), replace(state, definition=None), updates).state
        return after.optimizer, dict(after.weights)

    return step


@pytest.mark.parametrize("kind", CASES)
def test_the_deviation_that_is_stated_is_that_of_closed_forms(kind: str) -> None:
    deviations = check_rounds(CASES[kind], flower)
    assert (max(deviations) > 1e-3) == CASES[kind].deviates


@pytest.mark.parametrize("kind", [kind for kind, case in CASES.items() if case.deviates])
def test_a_definition_that_is_passed_off_as_native_is_caught(kind: str) -> None:
    with pytest.raises(AssertionError):
        check_rounds(CASES[kind], definition_as_native)
    check_rounds(replace(CASES[kind], theirs=CASES[kind].ours), definition_as_native)  # so it is for this alone


def test_whose_the_server_s_step_is_is_said_of_each_plan() -> None:
    from flspec_flower import FlowerBackend

    plan = plan_of(FedAdam(learning_rate=0.1, implementation="native"))
    steps = [FlowerBackend().stages(one)["server step"] for one in (plan, definition_of(plan))]
    assert steps == ["Flower", "flspec"]


def test_each_kind_that_flower_declares_is_tried() -> None:
    from flspec_flower.natives import NATIVES

    assert set(NATIVES) == set(CASES)


def test_a_step_of_the_definition_states_no_deviation() -> None:
    plan = plan_of(FedAdam(learning_rate=0.02))
    assert flower(plan) is None
    assert finish_round(plan, initial_state(plan), updates_of(plan, 1)).deviation is None
