"""Server optimizers against closed forms (a constant update) and tiny loops (a random one)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from flspec.aggregators.fedadagrad import FedAdagrad
from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.aggregators.fedavgm import FedAvgM
from flspec.aggregators.fedyogi import FedYogi
from flspec.core import threads
from flspec.protocol.state import ServerState, load_state, save_state
from flspec.server_optimizers.adagrad import Adagrad
from flspec.server_optimizers.adam import Adam
from flspec.server_optimizers.sgd import Sgd
from flspec.server_optimizers.yogi import Yogi
from tests import oracle

DELTA = 0.05  # a constant update
FLOAT32 = 1e-6  # relative; what rounding the state to float32 costs in a few steps
AGGREGATORS = [
    FedAvg(learning_rate=0.5),
    FedAvgM(learning_rate=0.5, momentum=0.9),
    FedAvgM(learning_rate=0.5, momentum=0.0),
    FedAdam(learning_rate=0.1),
    FedAdam(learning_rate=0.1, bias_correction=False, initial_accumulator=1e-4),
    FedAdam(learning_rate=0.1, epsilon_hat=True),
    FedAdam(learning_rate=0.1, epsilon_hat=True, initial_accumulator=1e-4),
    FedYogi(learning_rate=0.1),
    FedYogi(learning_rate=0.1, bias_correction=True),
    FedYogi(learning_rate=0.1, bias_correction=True, epsilon_hat=True),
    FedAdagrad(learning_rate=0.1),
]


def changes(optimizer, deltas, weight=0.0):
    """What each update adds to a single weight, of which the server keeps float32."""
    weights = {"w": np.array([weight], np.float32)}
    state, added = optimizer.initialize(weights), []
    for delta in deltas:
        before = weights["w"][0]
        state, weights = optimizer.apply(state, weights, {"w": np.array([delta])})
        added.append(float(weights["w"][0]) - float(before))
    return added


def agree(one, other):
    return np.allclose(one, other, rtol=20 * FLOAT32, atol=0)


def differ(one, other):
    return not np.allclose(one, other, rtol=1e-3, atol=0)


def test_sgd_adds_the_update_times_the_learning_rate():
    assert agree(changes(Sgd(learning_rate=0.25), [DELTA, -DELTA]), [0.25 * DELTA, -0.25 * DELTA])


def test_sgd_of_learning_rate_1_moves_by_the_update_itself():
    assert changes(Sgd(), [0.5, -0.25]) == [0.5, -0.25]


def test_momentum_of_a_constant_update_is_a_geometric_sum():
    got = changes(Sgd(learning_rate=0.5, momentum=0.9), [DELTA] * 5)
    assert agree(got, [0.5 * DELTA * (1 - 0.9**t) / 0.1 for t in range(1, 6)])
    dampened = [0.5 * DELTA * (1 - 0.9**t) for t in range(1, 6)]
    assert differ(got, dampened)


def test_bias_corrected_adam_moves_a_constant_update_by_the_same_step_every_time():
    got = changes(Adam(learning_rate=0.1, epsilon=0.01), [DELTA] * 6)
    assert agree(got, [0.1 * DELTA / (DELTA + 0.01)] * 6)


@pytest.mark.parametrize("start", [0.0, 1e-2])
def test_uncorrected_adam_follows_its_closed_form(start):
    optimizer = Adam(learning_rate=0.1, epsilon=0.01, bias_correction=False, initial_accumulator=start)
    got = changes(optimizer, [DELTA] * 6)
    assert agree(got, [uncorrected_adam(t, start) for t in range(1, 7)])
    assert differ(got, [uncorrected_adam(t + 1, start) for t in range(1, 7)])  # a step ahead
    assert differ(got, [0.1 * DELTA / (DELTA + 0.01)] * 6)  # corrected


def uncorrected_adam(t: int, start: float) -> float:
    first = (1 - 0.9**t) * DELTA
    second = 0.99**t * start + (1 - 0.99**t) * DELTA**2
    return 0.1 * first / (math.sqrt(second) + 0.01)


def test_the_initial_accumulator_is_bias_corrected_too():
    start = 1e-3
    got = changes(Adam(learning_rate=0.1, epsilon=0.01, initial_accumulator=start), [DELTA] * 6)
    second = [(0.99**t * start) / (1 - 0.99**t) + DELTA**2 for t in range(1, 7)]
    assert agree(got, [0.1 * DELTA / (math.sqrt(value) + 0.01) for value in second])
    ignored = [0.1 * DELTA / (DELTA + 0.01)] * 6
    assert differ(got, ignored)


@pytest.mark.parametrize(
    "optimizer", [Adam(learning_rate=1.0, epsilon=0.1), Adagrad(learning_rate=1.0, epsilon=0.1, initial_accumulator=0)]
)
def test_epsilon_stands_outside_the_root(optimizer):
    (got,) = changes(optimizer, [DELTA])
    assert agree(got, DELTA / (DELTA + 0.1))
    assert differ(got, DELTA / math.sqrt(DELTA**2 + 0.1))


def test_bias_correction_counts_updates_from_1():
    optimizer = Adam(learning_rate=1.0, epsilon=0.01)
    change, _ = optimizer.step(1, np.array([DELTA]), {"first_moment": np.zeros(1), "second_moment": np.zeros(1)})
    off_by_one, _ = optimizer.step(2, np.array([DELTA]), {"first_moment": np.zeros(1), "second_moment": np.zeros(1)})
    assert agree(change, DELTA / (DELTA + 0.01))
    assert differ(off_by_one, DELTA / (DELTA + 0.01))


def test_epsilon_hat_is_corrected_with_the_second_moment():
    got = changes(Adam(learning_rate=0.1, beta_2=0.999, epsilon=0.01, epsilon_hat=True), [DELTA] * 6)
    assert agree(got, [0.1 * DELTA / (DELTA + 0.01 / math.sqrt(1 - 0.999**t)) for t in range(1, 7)])
    assert got[0] == pytest.approx(0.1 * DELTA / (DELTA + 0.01 * 31.6228), rel=1e-5)
    assert differ(got, [0.1 * DELTA / (DELTA + 0.01)] * 6)  # after the correction
    assert differ(got, [0.1 * DELTA / (DELTA + 0.01 / (1 - 0.999**t)) for t in range(1, 7)])  # without the root


def test_the_place_of_epsilon_is_no_choice_without_bias_correction():
    refused = "epsilon_hat is true, but bias_correction is false; set bias_correction: true or remove epsilon_hat"
    for kind in (FedAdam, FedYogi, Adam, Yogi):
        with pytest.raises(ValidationError, match=refused):
            kind(learning_rate=0.1, bias_correction=False, epsilon_hat=True)
        assert kind(learning_rate=0.1, bias_correction=True, epsilon_hat=True).epsilon_hat


def test_an_aggregator_that_does_not_say_epsilon_hat_is_told_as_before():
    for kind in (FedAdam, FedYogi):
        told = kind(learning_rate=0.1).model_dump(mode="json")
        assert not told.keys() & {"epsilon_hat", "schedule"}
        hatted = kind(learning_rate=0.1, bias_correction=True, epsilon_hat=True)
        assert hatted.model_dump(mode="json") == told | {"bias_correction": True, "epsilon_hat": True}
        assert hatted.server_optimizer.epsilon_hat


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_adagrad_of_a_constant_update_slows_down_as_the_root_of_time(sign):
    optimizer = Adagrad(learning_rate=0.1, epsilon=0.01, initial_accumulator=1e-3)
    got = changes(optimizer, [sign * DELTA] * 6)
    assert agree(got, [sign * 0.1 * DELTA / (math.sqrt(1e-3 + t * DELTA**2) + 0.01) for t in range(1, 7)])
    without_start = [sign * 0.1 * DELTA / (math.sqrt(t * DELTA**2) + 0.01) for t in range(1, 7)]
    assert differ(got, without_start)


@pytest.mark.parametrize(("start", "sign"), [(0.0, 1), (1.0, -1)], ids=["below the square", "above the square"])
def test_yogi_moves_the_second_moment_by_the_square_whatever_its_size(start, sign):
    got = changes(Yogi(learning_rate=0.1, epsilon=0.01, initial_accumulator=start), [DELTA] * 6)
    second = [start + sign * t * 0.01 * DELTA**2 for t in range(1, 7)]
    assert agree(got, yogi_changes(second))
    as_adam = [0.99**t * start + (1 - 0.99**t) * DELTA**2 for t in range(1, 7)]
    assert differ(got, yogi_changes(as_adam))


def yogi_changes(second_moments):
    first = [(1 - 0.9**t) * DELTA for t in range(1, 7)]
    return [0.1 * m / (math.sqrt(v) + 0.01) for m, v in zip(first, second_moments, strict=True)]


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=repr)
def test_an_aggregators_server_optimizer_agrees_with_the_oracle_in_every_round(aggregator):
    rng = np.random.default_rng(0)
    document = aggregator.model_dump(mode="json")
    weights = {"a": rng.normal(size=(3, 2)).astype(np.float32), "b": rng.normal(size=2).astype(np.float32)}
    optimizer = aggregator.server_optimizer
    state = optimizer.initialize(weights)
    for step in range(1, 7):
        delta = {name: 0.1 * rng.normal(size=value.shape) for name, value in weights.items()}
        before = oracle.rounded(weights), {slot: oracle.rounded(values) for slot, values in state.slots.items()}
        expected, slots = oracle.server_step(document, step, *before, delta)
        state, weights = optimizer.apply(state, weights, delta)
        for name in weights:
            np.testing.assert_allclose(weights[name], expected[name], rtol=FLOAT32, atol=1e-8)
            for slot in slots:
                np.testing.assert_allclose(state.slots[slot][name], slots[slot][name], rtol=FLOAT32, atol=1e-12)


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=repr)
def test_the_oracle_starts_with_the_same_slots(aggregator):
    weights = {"a": np.ones((2, 3), np.float32)}
    started = aggregator.server_optimizer.initialize(weights).slots
    expected = oracle.initial_slots(aggregator.model_dump(mode="json"), weights)
    assert {slot: values["a"].tolist() for slot, values in started.items()} == {
        slot: values["a"].tolist() for slot, values in expected.items()
    }


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=repr)
def test_a_saved_state_goes_on_as_if_it_had_never_been_saved(aggregator, tmp_path):
    optimizer, deltas = aggregator.server_optimizer, np.random.default_rng(0).normal(size=(4, 3))
    weights = {"w": np.ones(3, np.float32)}
    state = optimizer.initialize(weights)
    for number, delta in enumerate(deltas, start=1):
        state, weights = optimizer.apply(state, weights, {"w": delta})
        if number == 2:
            save_state(tmp_path / "s", ServerState(number, weights, state), "plan")
    saved = load_state(tmp_path / "s", "plan")
    resumed_state, resumed = saved.optimizer, saved.weights
    for delta in deltas[2:]:
        resumed_state, resumed = optimizer.apply(resumed_state, resumed, {"w": delta})
    assert np.array_equal(resumed["w"], weights["w"])
    assert resumed_state.step == state.step == 4


def test_the_state_is_float32_and_the_step_is_not():
    optimizer = Sgd(learning_rate=1.0, momentum=0.5)
    weights = {"w": np.zeros(1, np.float32)}
    state, weights = optimizer.apply(optimizer.initialize(weights), weights, {"w": np.array([1 / 3])})
    assert weights["w"].dtype == state.slots["momentum"]["w"].dtype == np.float32
    change, _ = optimizer.step(1, np.array([1 / 3]), {"momentum": np.zeros(1)})
    assert change[0] == 1 / 3


def test_applying_changes_neither_the_weights_nor_the_state_it_was_given():
    optimizer = Adam(learning_rate=0.1)
    weights = {"w": np.ones(3, np.float32)}
    state = optimizer.initialize(weights)
    optimizer.apply(state, weights, {"w": np.ones(3)})
    assert (weights["w"] == 1.0).all()
    assert not state.slots["first_moment"]["w"].any()


RULES = [
    Sgd(learning_rate=0.5, momentum=0.9),
    Adam(learning_rate=0.1),
    Yogi(learning_rate=0.1),
    Adagrad(learning_rate=0.1),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_pieces_of_large_tensors_step_on_several_cores_to_the_bits_of_whole_ones(rule, monkeypatch):
    rng, shape = np.random.default_rng(0), (2, 2**15 + 3)
    weights = {"a": rng.normal(size=shape).astype(np.float32), "b": rng.normal(size=3).astype(np.float32)}
    delta = {name: rng.normal(size=weight.shape) for name, weight in weights.items()}
    start = rule.initialize(weights)
    state, stepped = rule.apply(start, weights, delta, 0.3)
    monkeypatch.setattr(threads, "_WORTH_THREADS", 1)
    assert taken(rule.apply(start, weights, delta, 0.3)) == taken((state, stepped))
    for name, weight in weights.items():
        before = {slot: values[name].astype(np.float64) for slot, values in start.slots.items()}
        change, after = rule.step(1, delta[name], before)
        assert stepped[name].tobytes() == (weight + 0.3 * change).astype(np.float32).tobytes()
        assert {slot: values[name].tobytes() for slot, values in state.slots.items()} == {
            slot: value.astype(np.float32).tobytes() for slot, value in after.items()
        }


def taken(given):
    state, weights = given
    return [value.tobytes() for values in (weights, *state.slots.values()) for value in values.values()]


def test_a_rule_that_does_not_say_that_it_works_on_each_entry_gets_whole_tensors(monkeypatch):
    weights = {"a": np.zeros((2, 2**15 + 3), np.float32)}
    monkeypatch.setattr(Sgd, "step", lambda rule, number, delta, slots: (delta / np.linalg.norm(delta), {}))

    def length():
        rule = Sgd()
        return np.linalg.norm(rule.apply(rule.initialize(weights), weights, {"a": np.ones((2, 2**15 + 3))})[1]["a"])

    assert length() > 1.5  # in pieces the root of their number
    monkeypatch.delattr(Sgd, "is_elementwise")
    assert length() == pytest.approx(1, abs=1e-4)
