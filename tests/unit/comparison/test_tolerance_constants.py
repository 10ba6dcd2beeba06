"""The numbers of a certificate: each is decided between two states, one on either side of it."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.comparison import certification
from flspec.comparison.agreement import Divergence, compare_states, nudge
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import kept_state
from flspec.protocol.events import RoundFinished
from flspec.protocol.state import ServerState, save_state
from flspec_local import LocalBackend

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
    assert agreement(plan, tmp_path, [1.0], [1.001], nudged=[1.0 + moved]).resolution.is_coarse is is_coarse


def test_a_nudge_moves_each_weight_by_the_root_of_the_steps_in_float32_steps(make_plan):
    state = initial_state(make_plan())
    moved = nudge(state, steps=9, number=0)
    for name, weight in state.weights.items():
        expected = 3.0 * np.spacing(np.abs(weight))  # the root of 9
        change = np.abs(moved.weights[name].astype(np.float64) - weight)
        np.testing.assert_allclose(change, np.where(weight == 0, 0.0, expected), rtol=0.5)
    signs = np.concatenate([np.sign(moved.weights[n] - w).ravel() for n, w in state.weights.items()])
    assert {-1.0, 1.0} <= set(signs.tolist())
    again = nudge(state, steps=9, number=1)
    assert any(not np.array_equal(again.weights[n], moved.weights[n]) for n in state.weights)


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
