"""How far two executions are apart, in numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flspec.comparison.agreement import Resolution, RoundAgreement, compare_states
from flspec.execution.rounds import initial_state
from flspec.protocol.backend import kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import OptimizerState, ServerState, load_state, save_state

STEP = 2.0**-23


@pytest.fixture(scope="module")
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(rounds=2, aggregator={"kind": "fedavgm", "momentum": 0.5}, model={"kind": "softmax_regression"})


def write(plan: Plan, folder: Path, bias: list[float], velocity: float = 0.0, step: int = 1) -> Path:
    """Keeps two rounds' states whose first bias is as given and whose other weights do not move from zero."""
    start = initial_state(plan)
    for number, value in enumerate(bias, start=1):
        weights = {name: weight.copy() for name, weight in start.weights.items()}
        weights["output.bias"][0] = value
        slots = {"momentum": {name: np.full_like(w, velocity) for name, w in start.weights.items()}}
        path = kept_state(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_state(path, ServerState(number, weights, OptimizerState(step, slots)), plan.digest)
    return folder


def test_equal_states_are_bitwise_equal(plan: Plan, tmp_path: Path) -> None:
    agreement = compare_states(plan, write(plan, tmp_path / "a", [1, 3]), write(plan, tmp_path / "b", [1, 3]))
    assert agreement.bitwise
    assert agreement.max_abs_diff == agreement.max_rel_diff == 0.0
    assert agreement.first_divergence is None


def test_a_difference_is_measured_by_what_the_round_moved(plan: Plan, tmp_path: Path) -> None:
    near = [1 + 8 * STEP, 3]
    agreement = compare_states(plan, write(plan, tmp_path / "a", [1, 3]), write(plan, tmp_path / "b", near))
    first, second = agreement.by_round
    assert first.max_abs_diff == 8 * STEP
    assert first.max_rel_diff == 8 * STEP  # the bias moved from 0 to 1
    assert first.of_tolerance == pytest.approx(8 / (4 * 1 + 64 * 1))
    assert second.max_abs_diff == 0.0
    assert not agreement.bitwise
    assert agreement.first_divergence is None


def test_the_first_divergence_names_round_and_tensor(plan: Plan, tmp_path: Path) -> None:
    far = [1, 3 + 400 * STEP]  # the tolerance is 4 * 3 + 64 * 2 = 140 steps
    agreement = compare_states(plan, write(plan, tmp_path / "a", [1, 3]), write(plan, tmp_path / "b", far))
    assert agreement.first_divergence is not None
    assert agreement.first_divergence.round == 2
    assert agreement.first_divergence.tensor == "output.bias"


@pytest.mark.parametrize(
    ("other", "tensor"), [({"velocity": 1e-3}, "optimizer/momentum/"), ({"step": 2}, "optimizer/step")]
)
def test_what_the_optimizer_remembers_counts_as_much(
    plan: Plan, tmp_path: Path, other: dict[str, float], tensor: str
) -> None:
    ours = write(plan, tmp_path / "a", [1, 3])
    agreement = compare_states(plan, ours, write(plan, tmp_path / "b", [1, 3], **other))  # type: ignore[arg-type]
    assert agreement.max_abs_diff == 0.0
    assert not agreement.bitwise
    assert agreement.first_divergence is not None
    assert agreement.first_divergence.tensor.startswith(tensor)  # type: ignore[union-attr]


def test_where_rounding_moves_any_weight_as_much_a_difference_of_another_shows_nothing(
    plan: Plan, tmp_path: Path
) -> None:
    """A tie that falls to the other side moves other tensors each time; eight draws do not show every one."""
    ours, nudged = write(plan, tmp_path / "a", [1, 3]), write(plan, tmp_path / "n", [1, 3])
    state = load_state(kept_state(nudged, 2))
    moved = {name: weight + np.float32(0.001) * (name == "output.weight") for name, weight in state.weights.items()}
    save_state(kept_state(nudged, 2), replace(state, weights=moved), plan.digest)
    for difference, is_explained in ((0.0035, True), (0.0045, False)):
        other = write(plan, tmp_path / str(difference), [1, 3 + difference])
        agreement = compare_states(plan, ours, other, {2: [kept_state(nudged, 2)]})
        assert (agreement.first_divergence is None) is is_explained
        assert agreement.by_round[1].resolution == pytest.approx(0.004 / 2)  # and that is what it says could be hidden
    assert compare_states(plan, ours, write(plan, tmp_path / "c", [1, 3.0035])).first_divergence is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_a_divergence(plan: Plan, tmp_path: Path, value: float) -> None:
    ours = write(plan, tmp_path / "a", [1, 3])
    agreement = compare_states(plan, ours, write(plan, tmp_path / "b", [value, 3]))
    assert agreement.first_divergence is not None
    assert agreement.first_divergence.round == 1
    assert agreement.model_dump_json()  # JSON has no word for infinity


def test_agreement_is_coarse_when_most_rounds_could_hide_a_hundredth() -> None:
    def entry(number: int, resolution: float) -> RoundAgreement:
        return RoundAgreement(round=number, max_abs_diff=0.0, max_rel_diff=0.0, of_tolerance=0.0, resolution=resolution)

    def coarse(*resolutions: float) -> bool:
        return Resolution.of([entry(number, value) for number, value in enumerate(resolutions, start=1)]).is_coarse

    assert coarse(0.3, 0.4, 1e-5)
    assert not coarse(1e-5, 1e-3, 0.4)
    assert Resolution.of([entry(1, 1e-5), entry(2, 0.4), entry(3, 1e-3)]) == Resolution(
        median=1e-3, worst=0.4, worst_round=2
    )
    assert Resolution.of([entry(1, 1e-5), entry(2, 0.4), entry(3, 1e-3)]).has_coarse_round
    assert not Resolution.of([entry(1, 1e-5), entry(2, 1e-2)]).has_coarse_round


def test_a_round_that_moves_no_weight_could_hide_no_share_of_a_movement(plan: Plan, tmp_path: Path) -> None:
    folder = write(plan, tmp_path / "second is still", [1, 1])
    agreement = compare_states(plan, folder, folder)
    assert agreement.resolution == Resolution(median=68 * STEP, worst=68 * STEP, worst_round=1)
    assert Resolution.of(agreement.by_round[1:]).is_coarse  # but if none moves any, nothing is shown


def test_a_difference_in_a_round_that_moves_no_weight_is_a_divergence(plan: Plan, tmp_path: Path) -> None:
    ours, other = write(plan, tmp_path / "a", [1, 1]), write(plan, tmp_path / "b", [1, 1 + 5 * STEP])
    found = compare_states(plan, ours, other).first_divergence
    assert found is not None
    assert found.round == 2


# -------------------------------------------------------------------------------------------- groups and tensors


def one_round(plan: Plan, folder: Path, values: dict[str, float]) -> Path:
    """Keeps a state in which the first value of some tensors is another than at the start."""
    weights = {name: weight.copy() for name, weight in initial_state(plan).weights.items()}
    for name, value in values.items():
        weights[name].flat[0] = value
    path = kept_state(folder, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, ServerState(1, weights, initial_state(plan).optimizer), plan.digest)
    return folder


@pytest.fixture(scope="module")
def normed(make_plan: Callable[..., Plan]) -> Plan:
    """A plan that starts at zero, whose output.weight is taken for a running statistic."""
    plan = make_plan(rounds=1, model={"kind": "softmax_regression"})
    return replace(plan, settings=replace(plan.settings, statistics=("output.weight",)))


@pytest.mark.parametrize(
    ("off", "tensor"),
    [
        ({"output.bias": 1e-3 * (1 + 60 * STEP)}, None),
        ({"output.bias": 1e-3 * (1 + 80 * STEP)}, "output.bias"),  # 8e-9: with the statistic's movement 6e-6 passed
        ({"output.bias": 1e-3 + 1e-6}, "output.bias"),
        ({"output.weight": 0.85 * (1 + 60 * STEP)}, None),
        ({"output.weight": 0.85 * (1 + 80 * STEP)}, "output.weight"),
    ],
    ids=lambda value: None,
)
def test_statistics_and_weights_are_each_judged_by_their_own_movement(
    normed: Plan, tmp_path: Path, off: dict[str, float], tensor: str | None
) -> None:
    """A running variance moves by 0.85 where weights move by a thousandth; of its own each may be off by 68 steps."""
    right = {"output.weight": 0.85, "output.bias": 1e-3}
    ours, theirs = one_round(normed, tmp_path / "a", right), one_round(normed, tmp_path / "b", right | off)
    found = compare_states(normed, ours, theirs).first_divergence
    assert (found and found.tensor) == tensor


def test_what_rounding_moves_of_statistics_explains_no_difference_of_a_weight(normed: Plan, tmp_path: Path) -> None:
    right = {"output.weight": 0.85, "output.bias": 1e-3}
    ours = one_round(normed, tmp_path / "a", right)
    nudged = {1: [kept_state(one_round(normed, tmp_path / "n", right | {"output.weight": 0.86}), 1)]}
    weight = one_round(normed, tmp_path / "b", right | {"output.bias": 1e-3 + 1e-6})
    statistic = one_round(normed, tmp_path / "c", right | {"output.weight": 0.88})
    assert compare_states(normed, ours, weight, nudged).first_divergence is not None
    assert compare_states(normed, ours, statistic, nudged).first_divergence is None


def test_statistics_count_in_the_largest_difference_and_not_in_what_a_round_resolves(
    normed: Plan, tmp_path: Path
) -> None:
    right = {"output.weight": 0.5, "output.bias": 0.25}
    ours = one_round(normed, tmp_path / "a", right)
    theirs = one_round(normed, tmp_path / "b", right | {"output.weight": 0.5 + 8 * STEP})
    (entry,) = compare_states(normed, ours, theirs).by_round
    assert entry.max_abs_diff == 8 * STEP
    assert entry.max_rel_diff == 16 * STEP  # the statistic moved by a half
    assert entry.resolution == pytest.approx(68 * STEP)  # of the bias: 4 of its value and 64 of its movement, as shares


def test_a_round_resolves_what_the_middle_tensor_does(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """One tensor of large values, as of equalised learning rates, hides much of itself and nothing of the others."""
    plan = make_plan(rounds=1)
    before = {name: float(weight.flat[0]) for name, weight in initial_state(plan).weights.items()}
    names = list(before)
    assert len(names) == 4
    moved = dict(zip(names, (1 / 64, 1 / 128, 1 / 256, 0.0), strict=True))  # the last does not move and has no share
    folder = one_round(plan, tmp_path / "a", {n: before[n] + moved[n] for n in names})
    state = load_state(kept_state(folder, 1))
    expected = []
    for name in names[:3]:
        movement = float(np.max(np.abs(state.weights[name].astype(float) - initial_state(plan).weights[name])))
        expected.append(STEP * (4 * float(np.abs(state.weights[name]).max()) + 64 / 64) / movement)
    (entry,) = compare_states(plan, folder, folder).by_round
    assert entry.resolution == pytest.approx(sorted(expected)[1], rel=1e-3)


@pytest.fixture(scope="module")
def large(make_plan: Callable[..., Plan]) -> Plan:
    """A plan of which one tensor has 2,048 weights and the others at most 320."""
    return make_plan(rounds=1, dataset={"kind": "digits"}, model={"kind": "mlp", "hidden": [32]})


def stepped(plan: Plan, folder: Path, name: str, factor: NDArray[np.float64] | float = 1.0) -> Path:
    """Keeps one round's state, in which weights have moved by a thousandth, and those of `name` by `factor` of it."""
    weights = {key: weight + np.float32(1e-3) for key, weight in initial_state(plan).weights.items()}
    weights[name] = (initial_state(plan).weights[name] + 1e-3 * np.asarray(factor)).astype(np.float32)
    path = kept_state(folder, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, ServerState(1, weights), plan.digest)
    return folder


def turned(shape: tuple[int, ...], at: int) -> NDArray[np.float64]:
    """A step of each weight, but of the one at `at` in the other direction."""
    return np.where(np.arange(np.prod(shape)) == at, -1.0, 1.0).reshape(shape)


def test_single_weights_that_turn_round_hide_nothing_of_many_others(large: Plan, tmp_path: Path) -> None:
    """As Adam turns round where a gradient is next to nothing: by the largest difference nothing at all would show."""
    name = max(large.weights, key=lambda key: large.weights[key].size)
    shape = large.weights[name].shape
    ours, theirs = stepped(large, tmp_path / "a", name), stepped(large, tmp_path / "b", name, turned(shape, 5))
    nudged = {1: [kept_state(stepped(large, tmp_path / "n", name, turned(shape, 9)), 1)]}
    found = compare_states(large, ours, theirs, nudged)
    assert found.first_divergence is None
    assert found.max_rel_diff == pytest.approx(2.0, rel=1e-3)
    assert found.resolution.median == pytest.approx(2 / 2048**0.5, rel=1e-2)  # ||2 of one|| / ||1 of each||


def test_what_large_tensors_are_off_as_a_whole_could_hide_where_rounding_moves_single_weights(
    large: Plan, tmp_path: Path
) -> None:
    name = max(large.weights, key=lambda key: large.weights[key].size)
    ours, theirs = stepped(large, tmp_path / "a", name), stepped(large, tmp_path / "b", name, 1.03)
    nudged = {1: [kept_state(stepped(large, tmp_path / "n", name, turned(large.weights[name].shape, 9)), 1)]}
    found = compare_states(large, ours, theirs, nudged)
    assert found.first_divergence is None  # each weight is off by less than one that turns round
    assert found.resolution.median == pytest.approx(0.03, rel=1e-2)
    assert found.resolution.is_coarse


def test_small_tensors_show_no_more_than_their_tolerance(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Of few weights rounding could by chance cancel a deviation, so that they agree says little."""
    small = make_plan(rounds=1, dataset={"kind": "digits"}, model={"kind": "softmax_regression"})
    assert {weight.size for weight in small.weights.values()} == {640, 10}
    ours = stepped(small, tmp_path / "a", "output.weight")
    nudged = {1: [kept_state(stepped(small, tmp_path / "n", "output.weight", turned((10, 64), 3)), 1)]}
    assert compare_states(small, ours, ours, nudged).resolution.median == pytest.approx(8.0, rel=1e-2)


def test_rounds_without_a_movement_are_numbers_that_json_has(plan: Plan, tmp_path: Path) -> None:
    still = write(plan, tmp_path / "a", [0, 0])
    agreement = compare_states(plan, still, still)
    assert np.isfinite(agreement.resolution.median)
    assert agreement.resolution.is_coarse
