"""The private mean through the server's step: what one client can change, and what noise is on it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from flspec.errors import RunError
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.postprocessors.private_mean import PrivateMean, update_noise
from flspec.update_clips.adaptive import Adaptive
from tests.unit.privacy.rounds import at_round, clip_after, one_round, private_plan, update

SHAPES = {"scalar": (), "none": (0,), "vector": (3,), "matrix": (2, 2)}
DTYPES = ["float16", "float32", "float64", "int32", "int8"]
ODD = [None, np.nan, np.inf, -np.inf]


def delta_of(seed, magnitude, dtype="float64", odd=None):
    """An update of some magnitude, with a value that is not finite if the type has one."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        delta = {name: (rng.normal(size=shape) * magnitude).astype(dtype) for name, shape in SHAPES.items()}
    if odd is not None and dtype.startswith("float"):
        delta["scalar"] = np.array(odd, dtype)
    return delta


def far(one, other):
    """The distance of two states' weights."""
    return math.sqrt(sum(float(np.square(one.weights[n].astype(float) - other.weights[n]).sum()) for n in SHAPES))


client_updates = st.builds(
    delta_of,
    st.integers(0, 9),
    st.integers(-30, 30).map(lambda power: 10.0**power),
    st.sampled_from(DTYPES),
    st.sampled_from(ODD),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(client_updates, min_size=3, max_size=3),
    client_updates,
    client_updates,
    st.integers(-20, 12).map(lambda power: 10.0**power),
)
@example([delta_of(0, 1e-30)] * 3, delta_of(1, 1e30), delta_of(2, -1e30), 1.0)
@example([delta_of(0, 1.0)] * 3, delta_of(1, 1.0, odd=np.nan), delta_of(1, 1e200), 1e12)
@example([delta_of(0, 1.0)] * 3, delta_of(1, 1e-200), delta_of(1, 1e300), 1e-20)
def test_one_client_changes_the_sum_by_at_most_its_clip(others, one, another, clip):
    plan = private_plan(SHAPES, clients=4, clip=clip)
    with np.errstate(over="ignore"):
        without, with_one, with_another = (one_round(plan, [*others, *more]).state for more in ([], [one], [another]))
    # The released weights are float32: of four clips a rounding is at most 4 * 2^-24 a value.
    allowed = clip * (1 + 2e-6) / 4
    assert far(with_one, without) <= allowed
    assert far(with_another, with_one) <= 2 * allowed


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_tensors_of_any_type_count_together(dtype):
    delta = {"scalar": np.array(60, dtype), "none": np.zeros(0, dtype), "vector": np.array([80, 0, 0], dtype)}
    plan = private_plan({name: value.shape for name, value in delta.items()}, clients=1, clip=50.0)
    moved = one_round(plan, [delta]).state.weights
    assert [float(moved["scalar"]), *moved["vector"]] == pytest.approx([30.0, 40.0, 0.0, 0.0])


def test_an_update_within_the_clip_stays_as_it_is_and_one_of_zero_too():
    plan = private_plan({"w": (3,)}, clients=2, clip=5.0)
    moved = one_round(plan, [{"w": np.array([3.0, 0, 4.0])}, {"w": np.zeros(3)}]).state.weights["w"]
    assert moved.tolist() == [1.5, 0.0, 2.0]


@pytest.mark.parametrize("weight", [0.0, 2.0, 1e9, -5.0, math.nan, math.inf])
def test_a_client_that_claims_another_weight_stops_the_run(weight):
    plan = private_plan({"w": (1,)}, clients=2)
    honest, claims = update(0, {"w": np.ones(1)}), update(1, {"w": np.ones(1)}, weight=weight)
    with pytest.raises(RunError, match=r"round 1: the backend gave an update of client 1 with weight .* once"):
        finish_round(plan, initial_state(plan), [honest, claims])


@pytest.mark.parametrize("clients", [[0, 0], [0, 0, 1], [0, 7]])
def test_an_update_that_comes_twice_or_from_nowhere_stops_the_run(clients):
    plan = private_plan({"w": (1,)}, clients=2)
    with pytest.raises(RunError, match="privacy holds for each planned update, once"):
        finish_round(plan, initial_state(plan), [update(client, {"w": np.ones(1)}) for client in clients])


@pytest.mark.parametrize("num_trained", [0, 1, 10**9, -5])
def test_claimed_examples_do_not_weigh(num_trained):
    plan = private_plan({"w": (1,)}, clients=2)
    claims = update(1, {"w": np.ones(1)}, num_trained=num_trained)
    outcome = finish_round(plan, initial_state(plan), [update(0, {"w": np.zeros(1)}), claims])
    assert outcome.state.weights["w"].tolist() == [0.5]


def test_who_does_not_reply_counts_as_zero_and_the_divisor_stays():
    plan = private_plan({"w": (1,)}, clients=10)
    assert one_round(plan, [{"w": np.ones(1)}] * 3).state.weights["w"][0] == pytest.approx(0.3)


@pytest.mark.parametrize("sent", [[], [{"w": np.full(1000, np.nan)}] * 2], ids=["nobody", "nothing finite"])
def test_a_round_without_an_update_releases_noise_and_counts(sent):
    plan = private_plan({"w": (1000,)}, clients=2, noise=1.0, clip={"kind": "adaptive", "initial": 1.0,
                                                                    "noise_on_count": 4.0})  # fmt: skip
    outcome = one_round(plan, sent)
    assert outcome.state.round == outcome.state.optimizer.step == 1
    assert outcome.state.weights["w"].std() == pytest.approx(update_noise(1.0, 4.0) / 2, rel=0.1)
    assert clip_after(outcome) != 1.0
    assert len(outcome.dropped) == len(sent)
    assert outcome.train == {}


# Two tensors of one shape and a third of another, 400,000 values together.
LARGE = {"a": (300, 500), "b": (300, 500), "c": (100_000,)}


def noise_of(outcome_state):
    return {name: value.astype(float) for name, value in outcome_state.weights.items()}


@pytest.fixture(scope="module")
def noises():
    """The noise of three rounds of four clients, multiplier 3 and clip 0.5, which send nothing."""
    plan = private_plan(LARGE, clients=4, noise=3.0, clip=0.5)
    zero = [{name: np.zeros(shape) for name, shape in LARGE.items()}] * 4
    return [noise_of(one_round(plan, zero, at_round(initial_state(plan), number)).state) for number in range(3)]


def test_noise_is_normal_with_the_deviation_that_is_accounted_for(noises):
    values = np.concatenate([value.ravel() for value in noises[0].values()])
    assert len(values) == 400_000
    deviation = 3.0 * 0.5 / 4
    assert values.var() == pytest.approx(deviation**2, rel=0.01)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(len(values))
    assert abs(stats.kurtosis(values)) < 5 * math.sqrt(24 / len(values))
    assert stats.kstest(values / deviation, "norm").pvalue > 1e-6
    assert stats.kstest(values / deviation * 0.985, "norm").pvalue < 1e-6  # such a test does see a deviation of 1.5 %


def test_noise_is_nowhere_repeated(noises):
    values = np.concatenate([value.ravel() for one in noises for value in one.values()])
    assert len(np.unique(values)) > 0.99 * len(values)  # float32 has some values twice by chance
    parts = [one[name].ravel()[:100_000] for one in noises for name in LARGE]
    rows = [*parts, parts[0][::-1], np.roll(parts[0], 1), np.roll(parts[0], 500)]
    correlation = np.corrcoef(rows)
    np.fill_diagonal(correlation, 0.0)
    assert np.abs(correlation).max() < 6 / math.sqrt(100_000)


def test_noise_does_not_depend_on_who_takes_part(noises):
    plan = private_plan(LARGE, clients=4, noise=3.0, clip=0.5)
    few = noise_of(one_round(plan, [{name: np.zeros(shape) for name, shape in LARGE.items()}]).state)
    assert all(np.array_equal(few[name], noises[0][name]) for name in LARGE)


def test_another_seed_gives_other_noise(noises):
    plan = private_plan(LARGE, clients=4, noise=3.0, clip=0.5)
    seeds = plan.arrays["round_seeds"] + 1
    other = replace(plan, arrays={**plan.arrays, "round_seeds": seeds})
    assert not np.isin(noise_of(one_round(other, []).state)["a"], noises[0]["a"]).all()


def test_a_simulated_cohort_has_the_noise_on_the_mean_that_it_would_have():
    plan = private_plan(LARGE, clients=4, noise=3.0, clip=0.5, noise_cohort=40.0)
    values = np.concatenate([value.ravel() for value in noise_of(one_round(plan, []).state).values()])
    assert values.std() == pytest.approx(3.0 * 0.5 / 40, rel=0.01)
    alone = one_round(private_plan({"w": (1,)}, clients=4, noise_cohort=40.0), [{"w": np.ones(1)}])
    assert alone.state.weights["w"][0] == 0.25  # the mean itself is of the clients there are


# ---- a clip that follows a quantile


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e4))
def test_the_noise_is_shared_so_that_both_releases_are_one_of_the_whole_multiplier(multiplier, on_count):
    if multiplier >= 2 * on_count:
        with pytest.raises(ValueError, match="is not below"):
            update_noise(multiplier, on_count)
        return
    shared = update_noise(multiplier, on_count)
    assert shared**-2 + (2 * on_count) ** -2 == pytest.approx(multiplier**-2, rel=1e-9)
    assert shared > multiplier or shared == pytest.approx(multiplier)


@pytest.mark.parametrize(("multiplier", "cohort", "shared"), [(1.0, 200, 1.00125), (5.0, 200, 5.164)])
def test_the_shared_noise_is_the_measured_one(multiplier, cohort, shared):
    assert update_noise(multiplier, Adaptive().count_noise(cohort)) == pytest.approx(
        shared, abs=6e-4 if multiplier > 1 else 6e-6
    )


def test_the_paper_defaults():
    clip = Adaptive()
    assert (clip.initial, clip.quantile, clip.rate, clip.count_noise(200)) == (0.1, 0.5, 0.2, 10.0)


def test_the_clip_that_clipped_scales_the_noise():
    adaptive = {"kind": "adaptive", "initial": 0.5, "noise_on_count": 1000.0}
    plan = private_plan(LARGE, clients=4, noise=3.0, clip=adaptive)
    long = [{name: np.full(shape, 1e3) for name, shape in LARGE.items()}] * 4
    outcome, still = one_round(plan, long), one_round(private_plan(LARGE, clients=4, clip=0.5), long)
    noise = np.concatenate([(outcome.state.weights[n] - still.state.weights[n]).ravel() for n in LARGE])
    assert clip_after(outcome) != 0.5
    assert noise.std() == pytest.approx(3.0 * 0.5 / 4, rel=0.01)


def test_the_next_clip_is_the_papers():
    adaptive = {"kind": "adaptive", "initial": 1.0, "quantile": 0.3, "rate": 0.7}
    plan = private_plan({"w": (1,)}, clients=8, clip=adaptive)
    outcome = one_round(plan, [{"w": np.array([norm])} for norm in (0.2, 0.9, 1.0, 1.1, 5.0, 7.0)])
    within = 0.5 + (3 - 3) / 2 / 8  # three within, three not; two of eight did not come and count half
    assert clip_after(outcome) == pytest.approx(math.exp(-0.7 * (within - 0.3)), rel=1e-6)
    outcome = one_round(plan, [{"w": np.array([0.5])}] * 8)
    assert clip_after(outcome) == pytest.approx(math.exp(-0.7 * (1 - 0.3)), rel=1e-6)


@pytest.mark.parametrize("num_clients", [0, 2, 8])
def test_the_count_has_the_noise_of_the_expected_cohort_whoever_comes(num_clients):
    adaptive = {"kind": "adaptive", "initial": 1.0, "rate": 1.0, "noise_on_count": 1.5}
    plan = private_plan({"w": (1,)}, clients=10, rounds=600, noise=1.0, clip=adaptive)
    half = [{"w": np.array([0.5 if client % 2 else 2.0])} for client in range(num_clients)]
    shares = [
        0.5 - math.log(clip_after(one_round(plan, half, at_round(initial_state(plan), number))))
        for number in range(600)
    ]
    assert np.std(shares) == pytest.approx(1.5 / 10, rel=0.15)
    assert np.mean(shares) == pytest.approx(0.5, abs=5 * 0.15 / math.sqrt(600))


def followed(initial, rounds, cohorts, noise=0.0, quantile=0.5):
    """The clips of some rounds in which clients' updates are between 0.5 and 1.5 long."""
    clip = {"kind": "adaptive", "initial": initial, "quantile": quantile}
    plan = private_plan({"w": (1,)}, clients=50, rounds=rounds, noise=noise, clip=clip)
    state, clips, rng = initial_state(plan), [], np.random.default_rng(7)
    for _ in range(rounds):
        deltas = [{"w": rng.uniform(0.5, 1.5, 1)} for _ in range(cohorts(rng))]
        outcome = one_round(plan, deltas, state)
        state = outcome.state
        clips.append(clip_after(outcome))
    return clips


@pytest.mark.parametrize("initial", [1e-4, 0.9, 1.1, 1e4])
@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize(
    "cohorts", [lambda rng: 50, lambda rng: min(50, rng.binomial(500, 0.08))], ids=["fixed", "poisson"]
)
def test_the_clip_reaches_its_quantile_from_far_away(initial, noise, cohorts):
    bound = math.ceil(math.log(1e4) / (0.2 * 0.5)) + 20
    clips = followed(initial, bound + 40, cohorts, noise)
    assert 0.8 < np.median(clips[bound:]) < 1.2
    assert all(0.6 < clip < 1.5 for clip in clips[bound:])


def test_a_low_quantile_is_below_most_updates():
    clips = followed(1.0, 200, lambda rng: 50, quantile=0.1)
    assert np.median(clips[100:]) == pytest.approx(0.6, abs=0.06)


def test_a_clip_that_nothing_reaches_stays_a_number():
    clip = Adaptive()
    assert clip.next_norm(1e-30, 1.0) == 1e-30
    assert clip.next_norm(1e12, 0.0) == 1e12
    assert clip.next_norm(1.0, 7.0) == clip.next_norm(1.0, 1.0)
    assert clip.next_norm(1.0, -7.0) == clip.next_norm(1.0, 0.0)


def test_the_mechanism_draws_and_acts_alone():
    assert PrivateMean.is_random
    assert PrivateMean.acts_without_updates
