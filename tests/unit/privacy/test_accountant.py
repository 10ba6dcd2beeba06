"""What releases cost, held to published values, to closed forms, and to what must be true of any accountant."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import dp_accounting
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from flspec.errors import SpecError
from flspec.privacy import accountant, calibration
from flspec.privacy.accountant import curve, finite, spent
from flspec.privacy.calibration import noise_multiplier_for, rounds_within
from tests.unit.privacy.privacy_cases import facts, gaussian_delta, gaussian_epsilon, poisson_renyi

# Computed with dp-accounting 0.6.0 by calls apart from ours: clients, cohort, noise, rounds, delta; Poisson cohorts by
# loss distributions and by Renyi; the cap, and what truncated cohorts cost; fixed cohorts, and by the same code without
# the factor 2 of replacing a client.
MEASURED = [
    (100, 10, 1.0, 100, 1e-3, 4.784, 5.655, 22, 4.813, 79.3, 10.8),
    (1000, 50, 1.0, 200, 1e-5, 4.766, 5.368, 77, 4.951, 58.4, 9.28),
    (41131, 200, 1.0, 5000, 8.4e-6, 1.895, 2.095, 256, 2.027, 23.2, 3.82),
    (41131, 5000, 18.0, 5000, 8.4e-6, 1.917, 2.082, 5265, 1.918, 10.4, 4.58),
]
CASES = pytest.mark.parametrize("case", MEASURED, ids=lambda case: f"{case[0]}-{case[1]}")
# Probability, noise, rounds, delta and Renyi's epsilon: TensorFlow Privacy's tutorial with today's conversion, two of
# its tests, and one of Opacus', which prints 7.32911.
PUBLISHED = [
    (256 / 60000, 1.1, 14063, 1e-5, 2.597, 2e-4),
    (0.0025, 1.3, 6000, 1e-5, 0.724223, 1e-6),
    (0.001, 1.0, 30000, 1e-7, 1.415499, 1e-6),
    (0.04, 1.5, 2250, 1e-5, 7.32911, 5e-5),
]


@CASES
def test_poisson_cohorts_cost_what_was_measured(case):
    clients, cohort, noise, rounds, delta, pld, rdp, *_ = case
    cost = spent(facts("poisson", clients, cohort, noise, delta), rounds)
    assert [cost.accountant, cost.epsilon, cost.rdp] == [
        "PLD",
        pytest.approx(pld, abs=6e-4),
        pytest.approx(rdp, abs=6e-4),
    ]


@CASES
def test_truncated_cohorts_cost_what_was_measured_and_have_no_renyi_bound(case):
    clients, cohort, noise, rounds, delta, _, _, most, truncated, *_ = case
    cost = spent(facts("truncated_poisson", clients, cohort, noise, delta, most), rounds)
    assert cost.epsilon == pytest.approx(truncated, abs=6e-4)
    assert cost.rdp is None


def test_a_cap_at_the_expected_cohort_costs_several_times_as_much():
    cost = spent(facts("truncated_poisson", 41131, 200, 1.0, 8.4e-6, 200), 5000)
    assert cost.epsilon == pytest.approx(11.97, abs=6e-3)


@CASES
def test_cohorts_of_a_fixed_size_cost_what_replacing_a_client_does(case):
    clients, cohort, noise, rounds, delta, *_, fixed, too_low = case
    run = facts("fixed_size", clients, cohort, noise, delta)
    assert spent(run, rounds).epsilon == pytest.approx(fixed, rel=5e-3)
    # The clipped sum changes by twice the clip; without that factor it is what other accountants print.
    assert spent(replace(run, noise_multiplier=2 * noise), rounds).epsilon == pytest.approx(too_low, rel=5e-3)


@pytest.mark.parametrize(("probability", "noise", "rounds", "delta", "epsilon", "tolerance"), PUBLISHED)
def test_published_values_are_met(probability, noise, rounds, delta, epsilon, tolerance):
    cost = spent(facts("poisson", 10**6, probability * 10**6, noise, delta), rounds)
    assert cost.rdp == pytest.approx(epsilon, rel=tolerance)
    # At whole orders alone, as here, a Renyi bound is a little larger than at all orders.
    assert cost.rdp == pytest.approx(poisson_renyi(noise, probability, rounds, delta), rel=6e-3)
    assert cost.rdp
    assert cost.epsilon < cost.rdp


def test_opacus_loss_distributions_cost_the_same():
    assert spent(facts("poisson", 25, 1, 1.5, 1e-5), 2250).epsilon == pytest.approx(
        6.7774, rel=2e-3
    )  # its PRV, rounded up


@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("rounds", [1, 7, 100])
def test_everybody_costs_what_one_gaussian_does(noise, rounds):
    epsilon = spent(facts("everybody", 1000, 1000, noise), rounds).epsilon
    assert epsilon == pytest.approx(gaussian_epsilon(noise / math.sqrt(rounds), 1.0, 1e-5), rel=1e-8)


@pytest.mark.parametrize("cohort", [10.0, 50.0, 1000.0])
@pytest.mark.parametrize("rounds", [1, 25])
def test_an_unknown_way_of_choosing_cohorts_is_no_amplification(cohort, rounds):
    epsilon = spent(facts("unknown", 1000, cohort, 3.0), rounds).epsilon
    assert epsilon == pytest.approx(gaussian_epsilon(3.0 / math.sqrt(rounds), 2.0, 1e-5), rel=1e-8)
    assert epsilon > 1.5 * spent(facts("poisson", 1000, cohort, 3.0), rounds).epsilon


@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("noise", [0.6, 1.0, 3.0])
def test_one_poisson_release_costs_what_its_definition_says(probability, noise):
    epsilon = spent(facts("poisson", 1000, 1000 * probability, noise), 1).epsilon
    assert epsilon == pytest.approx(gaussian_epsilon(noise, 1.0, 1e-5, probability), rel=1e-3)
    assert epsilon >= gaussian_epsilon(noise, 1.0, 1e-5, probability) * (1 - 1e-9)


def test_dp_accounting_still_forgets_the_factor_of_replacing():
    """If this fails, the factor may have come: then halve the noise no longer."""
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    forgotten = accountant.compose(dp_accounting.GaussianDpEvent(2.0)).get_epsilon(1e-5)
    assert forgotten < 0.6 * gaussian_epsilon(2.0, 2.0, 1e-5)


@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("rounds", [1, 100])
@pytest.mark.parametrize("cohort", [1.0, 50.0, 500.0, 1000.0])
def test_fixed_cohorts_never_cost_more_than_without_sampling_nor_less_than_poisson_ones(noise, rounds, cohort):
    fixed = spent(facts("fixed_size", 1000, cohort, noise), rounds).epsilon
    assert fixed <= spent(facts("unknown", 1000, cohort, noise), rounds).epsilon
    assert fixed >= spent(facts("poisson", 1000, cohort, noise), rounds).epsilon


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([0.001, 0.01]), st.floats(0.9, 20), st.integers(1, 300), st.sampled_from([1e-7, 1e-5]))
def test_loss_distributions_are_tighter_than_renyi_and_no_tighter_than_possible(probability, noise, rounds, delta):
    cost = spent(facts("poisson", 10**6, probability * 10**6, noise, delta), rounds)
    assert cost.rdp
    assert cost.epsilon <= cost.rdp * (1 + 1e-3)
    assert gaussian_delta(noise, 1.0, cost.epsilon, probability) <= delta * (1 + 1e-6)  # one round alone costs less


SAMPLINGS = pytest.mark.parametrize(
    "sampling", ["everybody", "poisson", "truncated_poisson", "fixed_size", "with_replacement", "unknown"]
)


@SAMPLINGS
def test_more_noise_costs_less_more_rounds_more_and_a_smaller_delta_more(sampling):
    def cost(**changed):
        run: dict[str, Any] = {
            "sampling": sampling,
            "population": 1000,
            "cohort": 20.0,
            "noise": 2.0,
            "most": 40,
            "delta": 1e-5,
        }
        rounds = changed.pop("rounds", 50)
        return spent(facts(**(run | changed)), rounds).epsilon

    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"noise": 2.2}, {}),
        ({"noise": 1e6}, {"noise": 1e3}),
        ({}, {"rounds": 51}),
        ({"rounds": 1}, {}),
        ({"delta": 1e-4}, {}),
    ]
    for smaller, larger in pairs:
        assert cost(**smaller) < cost(**larger) or cost(**larger) == 0.0
    if sampling in ("poisson", "fixed_size", "with_replacement"):
        assert cost(cohort=19.0) < cost(cohort=20.0) < cost(cohort=999.0)


@SAMPLINGS
@pytest.mark.parametrize("noise", [1e-3, 0.02, 0.3])
def test_hardly_any_noise_costs_much_and_is_accounted_for_at_once(sampling, noise):
    epsilon = spent(facts(sampling, 1000, 10.0, noise, most=40), 10**4).epsilon
    assert math.isfinite(epsilon)
    assert epsilon > 100


def test_nothing_costs_nothing_and_no_noise_costs_all():
    assert spent(facts(), 0).epsilon == 0.0
    assert spent(facts(noise=0.0), 1).epsilon == math.inf
    assert finite(math.inf) is None
    assert finite(None) is None
    assert finite(1.5) == 1.5


def holds_calibration(run, rounds, target):
    """The noise for a target costs no more, and a little less noise costs more."""
    noise = noise_multiplier_for(run, rounds, target)
    assert spent(replace(run, noise_multiplier=noise), rounds).epsilon <= target
    assert spent(replace(run, noise_multiplier=noise * (1 - 3e-4)), rounds).epsilon > target * (1 - 1e-9)
    return noise


@given(
    st.sampled_from(["everybody", "unknown"]),
    st.floats(0.01, 1e3),
    st.integers(1, 10**5),
    st.sampled_from([1e-12, 1e-7, 1e-5]),
)
def test_the_noise_for_a_target_never_costs_more_and_hardly_less(sampling, target, rounds, delta):
    holds_calibration(facts(sampling, 2000, 40.0, 0.0, delta), rounds, target)


@pytest.mark.parametrize(
    ("sampling", "rounds", "target"), [("poisson", 3, 0.5), ("poisson", 300, 2), ("fixed_size", 9, 8)]
)
def test_the_noise_for_sampled_cohorts_never_costs_more_and_hardly_less(sampling, rounds, target):
    holds_calibration(facts(sampling, 2000, 40.0, 0.0), rounds, target)


def test_the_noise_for_a_measured_epsilon_is_the_measured_noise():
    run = facts("poisson", 41131, 200, 1.0, 8.4e-6)
    assert holds_calibration(run, 5000, spent(run, 5000).epsilon) == pytest.approx(1.0, rel=2e-4)


def test_a_target_that_no_noise_reaches_is_refused():
    with pytest.raises(SpecError, match=r"privacy.epsilon: 1e-07 is not reached with a noise multiplier of 1e\+06"):
        noise_multiplier_for(facts("everybody", 1000, 1000.0, 0.0, delta=1e-12), 10**6, 1e-7)


@pytest.mark.parametrize("sampling", ["everybody", "poisson", "truncated_poisson", "fixed_size", "unknown"])
@pytest.mark.parametrize("noise", [0.0, 1e-320, 1e-308, 1e-100, 1e-9, 1e-5, 1e-3, 1e6])
def test_any_noise_at_all_has_an_epsilon(sampling, noise):
    """Beyond what floating-point numbers can do with it, nothing is promised; epsilon never falls as noise does."""
    most = 9 if sampling == "truncated_poisson" else None
    for delta in (1e-320, 0.04):
        for rounds in (1, 1000):
            epsilon = spent(
                facts(sampling, 20, 20.0 if sampling == "everybody" else 5.0, noise, delta, most), rounds
            ).epsilon
            assert epsilon == math.inf if noise < 1e-6 * math.sqrt(rounds) else 0 <= epsilon < math.inf


LOOKED_FOR = {
    "poisson": (facts("poisson", 2000, 200.0, 0.0, 1e-4), 50, 2.0),
    "poisson, much": (facts("poisson", 400, 80.0, 0.0, 1e-3), 40, 60.0),
    "poisson, hardly any": (facts("poisson", 400, 80.0, 0.0, 1e-3), 40, 0.01),
    "truncated": (facts("truncated_poisson", 100, 10.0, 0.0, 1e-3, most=22), 20, 4.0),
    "fixed size": (facts("fixed_size", 100, 10.0, 0.0, 1e-3), 20, 4.0),
    "everybody": (facts("everybody", 100, 100.0, 0.0, 1e-3), 20, 4.0),
}


SLOW = ("truncated", "poisson", "poisson, much")
MINUTES = pytest.mark.release("minutes of cohorts of one kind; others show that estimates change no digit")


@pytest.mark.parametrize(
    ("run", "rounds", "target"),
    [pytest.param(*one, marks=[MINUTES] if name in SLOW else [], id=name) for name, one in LOOKED_FOR.items()],
)
def test_estimates_save_time_and_change_no_digit_of_the_noise(monkeypatch, run, rounds, target):
    found = noise_multiplier_for(run, rounds, target)
    monkeypatch.setattr(calibration, "_estimates", lambda privacy, rounds: [])
    assert found == noise_multiplier_for(run, rounds, target)


def test_the_finest_grid_is_used_for_two_multipliers_alone(monkeypatch):
    asked = []
    sound = accountant._one_release

    def counted(privacy, grid):
        asked.append((grid, privacy.noise_multiplier))
        return sound(privacy, grid)

    accountant._spent.cache_clear()
    monkeypatch.setattr(accountant, "_one_release", counted)
    noise_multiplier_for(*LOOKED_FOR["poisson"])
    assert len({noise for grid, noise in asked if grid == 1e-4}) == 2
    asked.clear()
    accountant._spent.cache_clear()
    monkeypatch.setattr(calibration, "_estimates", lambda privacy, rounds: [])
    noise_multiplier_for(*LOOKED_FOR["poisson"])
    assert len({noise for grid, noise in asked if grid == 1e-4}) > 10


@pytest.mark.parametrize("factor", [1e-9, 0.2, 0.999, 1.001, 5.0, 1e9, float("nan"), float("inf")])
def test_a_wrong_estimate_costs_time_alone(monkeypatch, factor):
    run, rounds, target = LOOKED_FOR["everybody"]
    found = noise_multiplier_for(run, rounds, target)

    def wrong(noise):
        return factor * calibration._epsilon_with(run, rounds, noise)

    monkeypatch.setattr(calibration, "_estimates", lambda privacy, rounds: [wrong])
    assert noise_multiplier_for(run, rounds, target) == found


def test_a_multiplier_that_was_thought_to_be_enough_is_asked_in_the_end(monkeypatch):
    """Where more noise costs more, which only rounding could do, the noise that is found still costs no more."""
    run, rounds, target = LOOKED_FOR["everybody"]
    found, sound = noise_multiplier_for(run, rounds, target), calibration._epsilon_with

    def bumpy(privacy, rounds, noise):
        return 99.0 if noise == found else sound(privacy, rounds, noise)

    monkeypatch.setattr(calibration, "_epsilon_with", bumpy)
    just_below = found * (1 - 1e-6)  # the estimate has this asked, which is enough, so that all above would be

    def estimate(noise):
        return 9.0 if noise < just_below else 0.0

    monkeypatch.setattr(calibration, "_estimates", lambda privacy, rounds: [estimate])
    assert bumpy(run, rounds, noise_multiplier_for(run, rounds, target)) <= target


@pytest.mark.parametrize(("sampling", "budget"), [("poisson", 0.5), ("everybody", 20.0)])
def test_as_many_rounds_are_within_a_budget_as_cost_no_more(sampling, budget):
    run = facts(sampling, 1000, 20.0, 2.0)

    def cost(rounds):
        return spent(run, rounds).epsilon

    within = rounds_within(cost, 500, budget)
    assert 0 < within < 500
    assert spent(run, within).epsilon <= budget < spent(run, within + 1).epsilon
    assert rounds_within(cost, within, budget) == within
    assert rounds_within(cost, 500, 1e-6) == 0


def test_the_curve_rises_to_what_all_rounds_cost():
    run = facts(noise=2.0)
    points = curve(run, 30)
    assert [number for number, _ in points][-1] == 30
    assert [value for _, value in points] == sorted(value for _, value in points)
    assert points[-1][1] == spent(run, 30).epsilon
    assert len(curve(run, 3)) == 3
