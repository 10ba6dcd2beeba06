"""The numbers of a certificate: each is decided between two states, one on either side of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flspec.comparison import certification
from flspec.comparison.agreement import Divergence, compare_states
from flspec.comparison.nudging import nudge, nudged_outcome
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import Backend, Job, kept_state
from flspec.protocol.events import RoundFinished
from flspec.protocol.state import ServerState, load_state, save_state
from flspec_local import LocalBackend
from tests.conformance.wrong import SlightlyOffLearningRate

FLOAT32_STEP = 1.1920928955078125e-07  # 2^-23: IEEE 754 binary32 has 23 bits after the leading one


@pytest.fixture
def plan(make_plan):
    return make_plan(rounds=1, model={"kind": "softmax_regression"})


def agreement(plan, folder, ours, theirs, nudged=None):
    """Of one round in which all weights stay zero but two of the bias."""
    for name, values in {"ours": ours, "theirs": theirs, "nudged": nudged or ours}.items():
        weights = {key: value.copy() for key, value in initial_state(plan).weights.items()}
        weights["output.bias"][: len(values)] = values
        path = kept_state(folder / name, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_state(path, ServerState(1, weights), plan.digest)
    draws = {1: [kept_state(folder / "nudged", 1)]} if nudged else None
    return compare_states(plan, folder / "ours", folder / "theirs", draws)


@pytest.mark.parametrize(("steps", "is_equal"), [(67, True), (69, False)])
def test_a_round_may_differ_by_4_steps_of_the_value_and_64_of_the_movement(plan, tmp_path, steps, is_equal):
    """The bias moves from 0 to 1, so value and movement are 1: 68 steps."""
    found = agreement(plan, tmp_path, [1.0], [1.0 + steps * FLOAT32_STEP])
    assert (found.first_divergence is None) is is_equal
    assert found.by_round[0].of_tolerance == pytest.approx(steps / 68, rel=1e-6)
    assert found.by_round[0].resolution == pytest.approx(68 * FLOAT32_STEP, rel=1e-6)


@pytest.mark.parametrize(("difference", "is_equal"), [(0.0079, True), (0.0081, False)])
def test_a_sensitive_round_may_differ_by_4_times_what_rounding_moves(plan, tmp_path, difference, is_equal):
    found = agreement(plan, tmp_path, [1.0, 1.0], [1.0 + difference, 1.0], nudged=[1.0, 1.002])
    assert (found.first_divergence is None) is is_equal


@pytest.mark.parametrize(("moved", "is_coarse"), [(0.0024, False), (0.0026, True)])
def test_a_round_is_coarse_above_a_hundredth_of_its_movement(plan, tmp_path, moved, is_coarse):
    found = agreement(plan, tmp_path, [1.0], [1.001], nudged=[1.0 + moved])
    assert found.resolution.is_coarse is is_coarse
    assert certification._verdict(found, None)[0] == ("inconclusive" if is_coarse else "equivalent")


def test_a_nudge_moves_each_weight_by_four_roots_of_the_steps_in_float32_steps(make_plan):
    state = initial_state(make_plan())
    moved = nudge(state, steps=9, number=0)
    for name, weight in state.weights.items():
        expected = 12.0 * np.spacing(np.abs(weight))  # four times the root of 9
        change = np.abs(moved.weights[name].astype(np.float64) - weight)
        np.testing.assert_allclose(change, np.where(weight == 0, 0.0, expected), rtol=0.5)
    signs = np.concatenate([np.sign(moved.weights[n] - w).ravel() for n, w in state.weights.items()])
    assert {-1.0, 1.0} <= set(signs.tolist())
    again = nudge(state, steps=9, number=1)
    assert any(not np.array_equal(again.weights[n], moved.weights[n]) for n in state.weights)


def test_a_weight_that_a_round_leaves_alone_ends_off_by_one_root_of_the_steps(make_plan):
    """Of the four by which the round began, three are taken off; what training made of the four stays."""
    before = initial_state(make_plan())
    trained = {name: weight + np.float32(0.5) for name, weight in nudge(before, 9, 0).weights.items()}
    outcome = nudged_outcome(replace(before, weights=trained), before, steps=9, number=0)
    once = nudge(before, 9, 0, by=1.0)
    for name, weight in before.weights.items():
        np.testing.assert_allclose(outcome.weights[name] - 0.5, once.weights[name], rtol=0, atol=2.0**-24)
        change = np.abs(once.weights[name].astype(np.float64) - weight)
        np.testing.assert_allclose(change, np.where(weight == 0, 0.0, 3 * np.spacing(np.abs(weight))), rtol=0.5)


def test_what_a_client_keeps_is_nudged_and_settled_too(make_plan):
    own = {"weights": {"norm.weight": np.full(8, 0.75, np.float32)}, "optimizer/momentum": {}}
    before = replace(initial_state(make_plan()), clients={3: own})
    start = nudge(before, 4, 1)
    (moved,) = start.clients[3]["weights"].values()
    assert (np.abs(moved - 0.75) == 8 * np.spacing(np.float32(0.75))).all()
    (settled,) = nudged_outcome(start, before, 4, 1).clients[3]["weights"].values()
    assert (np.abs(settled - 0.75) == 2 * np.spacing(np.float32(0.75))).all()


@pytest.mark.parametrize(("off", "is_equal"), [(0.9e-3, True), (1.1e-3, False)])
def test_a_reported_loss_may_be_off_by_a_thousandth_and_two_examples(make_plan, tmp_path, off, is_equal):
    class Off(LocalBackend):
        """Reports a loss that is too large by a share, and two examples more."""

        name = "off"

        def execute(self, plan, job):
            for event in super().execute(plan, job):
                if isinstance(event, RoundFinished):
                    share = {
                        name: value * (1 + off) + 1.99999 / event.num_trained for name, value in event.train.items()
                    }
                    yield event.model_copy(update={"train": share})
                else:
                    yield event

    engines = {"local": LocalBackend(), "off": Off()}
    made = certification.certify(make_plan(rounds=1), list(engines), tmp_path / "c", engines=engines)
    assert (made.backends["off"].verdict == "equivalent") is is_equal


@pytest.mark.parametrize(
    ("record", "steps", "is_equal"),
    [
        ("weights", 60, True),
        ("weights", 80, False),
        ("optimizer/momentum", 60, True),
        ("optimizer/momentum", 80, False),
    ],
)
def test_what_a_client_keeps_is_judged_as_the_servers_is(plan, tmp_path, record, steps, is_equal):
    """One value of one client's, which moved from 0 to 1: 68 steps are allowed."""
    for name, value in {"ours": 1.0, "theirs": 1.0 + steps * FLOAT32_STEP}.items():
        state = initial_state(plan)
        own = {record: {"norm.weight": np.array([value, 0.0], np.float32)}}
        path = kept_state(tmp_path / name, 1)
        path.parent.mkdir(parents=True)
        save_state(path, ServerState(1, state.weights, clients={0: own, 3: own}), plan.digest)
    found = compare_states(plan, tmp_path / "ours", tmp_path / "theirs")
    assert (found.first_divergence is None) is is_equal
    assert not found.bitwise
    if found.first_divergence:
        assert str(found.first_divergence.tensor).startswith("clients/0/")


def test_of_two_divergences_the_first_is_told():
    late, early = (Divergence(round=number, tensor=None) for number in (3, 2))
    assert certification._earliest(late, None, early) == early
    assert certification._earliest(None, None) is None


class Counting(LocalBackend):
    """Remembers what each execution starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[str] = []

    def execute(self, plan, job):
        self.starts.append(str(job.start))
        yield from super().execute(plan, job)


def test_sensitivity_is_measured_by_eight_draws_of_each_round_beyond(make_plan, tmp_path):
    counting = Counting()
    engines: dict[str, Backend] = {"local": counting, "off": SlightlyOffLearningRate()}
    certification.certify(make_plan(rounds=1), list(engines), tmp_path / "c", engines=engines, explain=False)
    assert len(set(counting.starts)) == len(counting.starts) == 1 + 8


class Silent(LocalBackend):
    """Trains rightly and reports no accuracy."""

    def execute(self, plan, job):
        for event in super().execute(plan, job):
            if isinstance(event, RoundFinished):
                yield event.model_copy(update={"train": {"loss": event.train["loss"]}})
            else:
                yield event


def test_a_metric_that_is_not_reported_is_a_difference(make_plan, tmp_path):
    engines = {"local": LocalBackend(), "silent": Silent()}
    made = certification.certify(make_plan(rounds=1), list(engines), tmp_path / "c", engines=engines)
    assert made.backends["silent"].verdict == "different"
    assert made.backends["silent"].first_divergence == Divergence(round=1, tensor="train accuracy")


def test_in_lockstep_every_round_after_the_first_starts_from_the_state_that_is_followed(make_plan, tmp_path):
    """The followed run's states are replaced by ones that no run would come to."""
    plan = make_plan(rounds=3)
    list(LocalBackend().execute(plan, Job(tmp_path / "followed", keep="all")))
    for number in (1, 2):
        path = kept_state(tmp_path / "followed", number)
        state = load_state(path, plan.digest)
        save_state(path, replace(state, weights={name: w * -number for name, w in state.weights.items()}), plan.digest)
    list(LocalBackend().execute(plan, Job(tmp_path / "b", follow=tmp_path / "followed", keep="all")))
    for number in (2, 3):
        start = kept_state(tmp_path / "followed", number - 1)
        list(LocalBackend().execute(plan, Job(tmp_path / f"from {number}", start=start, keep="all")))
        alone = load_state(kept_state(tmp_path / f"from {number}", number), plan.digest)
        locked = load_state(kept_state(tmp_path / "b", number), plan.digest)
        assert all(np.array_equal(locked.weights[name], value) for name, value in alone.weights.items())
