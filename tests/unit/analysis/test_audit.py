"""The audit of private plans: what is right holds its claim, and each broken mechanism is caught."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from flspec.analysis.audit import audit
from flspec.postprocessors.private_mean import PrivateMean
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.privacy import accountant
from flspec.privacy.spending import as_it_ran, num_rounds_of
from flspec.samplers import Sampler
from flspec.samplers.all import All
from flspec.samplers.poisson import Poisson, TruncatedPoisson
from flspec.samplers.uniform import Uniform
from flspec.samplers.with_replacement import WithReplacement
from tests.unit.privacy.privacy_cases import facts, gaussian_epsilon
from tests.unit.privacy.rounds import private_plan

CLIENTS, ROUNDS = 8, 3
ADAPTIVE = {"kind": "adaptive", "initial": 0.5, "noise_on_count": 4.0}
SAMPLERS = {
    "everybody": All(),
    "poisson": Poisson(size=4),
    "truncated_poisson": TruncatedPoisson(size=4, most=4),
    "fixed_size": Uniform(size=4),
    "with_replacement": WithReplacement(size=4),
}


def plan_of(sampling="everybody", noise=2.0, delta=0.02, **mechanism):
    expected = 8.0 if sampling == "everybody" else 4.0
    clients = {"clients": CLIENTS, "rounds": ROUNDS, "noise": noise} | mechanism
    plan = private_plan({"w": (2,)}, **clients)
    part = {**plan.settings.postprocessors[0], "clients": expected}
    promised = facts(sampling, CLIENTS, expected, noise, delta, 4 if sampling == "truncated_poisson" else None)
    return replace(plan, settings=replace(plan.settings, postprocessors=(part,), privacy=promised))


def audited(sampling="everybody", seed=0, trials=20_000, **plan):
    return audit(plan_of(sampling, **plan), SAMPLERS[sampling], trials=trials, seed=seed)


@pytest.mark.parametrize("clip", [1.0, ADAPTIVE], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("sampling", SAMPLERS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_right_holds_its_claim(sampling, clip, seed):
    found = audited(sampling, seed, trials=2000, clip=clip)
    assert 0.02 * found.claimed < found.measured < found.claimed
    assert not found.is_refuted


@pytest.mark.parametrize("seed", range(5))
def test_of_everybody_the_bound_is_close_to_what_is_exactly_true(seed):
    found = audited(seed=seed)
    truth = gaussian_epsilon(2.0 / ROUNDS**0.5, 1.0, 0.02)
    assert found.claimed == pytest.approx(truth, rel=1e-6)
    assert truth / 2 < found.measured < truth


def less_noise(monkeypatch, part):
    noise = PrivateMean.noise

    def lessened(self, record, shapes, stream):
        values, share = noise(self, record, shapes, stream)
        return {name: value * part for name, value in values.items()}, share

    monkeypatch.setattr(PrivateMean, "noise", lessened)


def half_noise(monkeypatch):
    less_noise(monkeypatch, 0.5)


def a_tenth_of_the_noise(monkeypatch):
    less_noise(monkeypatch, 0.1)


def no_clip(monkeypatch):
    monkeypatch.setattr(PrivateMean, "on_each", lambda self, delta, record, stream: delta)


def divided_by_replies(monkeypatch):
    combined = PrivateMean.on_combined
    monkeypatch.setattr(
        PrivateMean,
        "on_combined",
        lambda self, given, stream: combined(self, replace(given, num_updates=self.clients), stream),
    )


@pytest.mark.parametrize("sampling", ["everybody", "poisson"])
@pytest.mark.parametrize("broken", [half_noise, a_tenth_of_the_noise, no_clip, divided_by_replies])
def test_a_broken_mechanism_is_refuted(monkeypatch, broken, sampling):
    broken(monkeypatch)
    found = audited(sampling)
    assert found.measured > found.claimed
    assert found.is_refuted


def test_weights_by_examples_are_refuted():
    plan = plan_of()
    weights = np.where(plan.arrays["task_clients"] == 0, 1000, 1)
    weighted = replace(plan, arrays={**plan.arrays, "task_weights": weights})
    assert audit(weighted, All(), seed=0).is_refuted


def test_a_sampler_that_always_draws_the_canary_is_refuted():
    assert audit(plan_of("poisson", noise=1.0), All(), seed=0).is_refuted


def test_a_client_that_is_drawn_twice_counts_twice():
    """Accounted for as if every client came once at most, what repeated draws tell is more than claimed."""
    assert audit(plan_of("poisson"), AlwaysTwice(), seed=0).is_refuted


class AlwaysTwice(Sampler):
    kind: ClassVar[str] = "always_twice"

    def cohort(self, num_clients, stream):
        return np.repeat(np.flatnonzero(stream.uniform(num_clients) < 0.5), 2)


def test_noise_is_fresh_unless_a_seed_is_given_and_never_the_plan_s():
    plan = plan_of()
    other_seeds = replace(plan, arrays={**plan.arrays, "round_seeds": plan.arrays["round_seeds"] + 1})
    assert audit(plan, All(), 1000, seed=1) == audit(other_seeds, All(), 1000, seed=1)
    assert len({audit(plan, All(), 1000).false_alarms for _ in range(6)}) > 1


def test_secret_noise_is_audited_with_a_key_of_its_own():
    plan = plan_of()
    assert plan.settings.privacy
    secret = replace(plan, settings=replace(plan.settings, privacy=replace(plan.settings.privacy, secret=True)))
    found = audit(secret, All(), seed=0)
    assert found.claimed / 2 < found.measured < found.claimed


# ------------------------------------------------------------------------------------------------ claims of larger runs


def simulated(sampling, cohort, population, clip=1.0):
    """A plan whose claim is for a larger run; of this one the noise is a quarter of what the claim needs."""
    plan = plan_of(sampling, noise=4.0, clip=clip, noise_cohort=cohort)
    privacy = replace(
        plan.settings.privacy,
        cohort=cohort,
        population=population,
        claimed_population=True,
        simulated_cohort=True,
    )
    return replace(plan, settings=replace(plan.settings, privacy=privacy))


@pytest.mark.parametrize("clip", [1.0, ADAPTIVE | {"noise_on_count": 16.0}], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("seed", range(3))
def test_of_a_simulated_cohort_the_bound_is_close_to_what_is_true_of_what_ran(seed, clip):
    """Of eight clients the mean has the noise of 32, so on their sum it is 1 in place of 4."""
    found = audit(simulated("everybody", 32.0, 32, clip), All(), seed=seed)
    claim, truth = (gaussian_epsilon(noise / ROUNDS**0.5, 1.0, 0.02) for noise in (4.0, 1.0))
    assert found.claimed == pytest.approx(claim, rel=1e-6)
    assert found.what_ran
    assert found.what_ran.epsilon == pytest.approx(truth, rel=1e-6)
    assert 2 * claim < truth / 2 < found.measured < truth
    assert (found.is_refuted, found.is_broken) == (True, False)


def test_of_a_claimed_population_what_ran_has_the_clients_that_there_are():
    plan = simulated("poisson", 16.0, 1000)
    found = audit(plan, SAMPLERS["poisson"], seed=0)
    assert found.what_ran
    assert (found.what_ran.population, found.what_ran.cohort) == (CLIENTS, 4.0)
    assert (found.what_ran.claimed_population, found.what_ran.simulated_cohort) == (1000, 16.0)
    same = replace(plan_of("poisson", noise=1.0).settings.privacy, delta=0.02)
    assert found.what_ran.epsilon == accountant.spent(same, ROUNDS).epsilon
    assert found.claimed < found.measured < found.what_ran.epsilon


def test_a_broken_mechanism_is_told_from_a_claim_of_a_larger_run(monkeypatch):
    a_tenth_of_the_noise(monkeypatch)
    assert audit(simulated("everybody", 32.0, 32), All(), seed=0).is_broken


def test_a_cap_is_the_real_cohorts_where_a_larger_one_is_simulated():
    sampler = SAMPLERS["truncated_poisson"]
    plan = simulated("truncated_poisson", 16.0, 1000)
    facts = replace(plan.settings.privacy, most=16)
    ran = as_it_ran(facts, sampler.sampling(CLIENTS), CLIENTS)
    assert ran == plan_of("truncated_poisson", noise=1.0).settings.privacy


# --------------------------------------------------------------------------------------------- reports with local noise

LOCAL = {"kind": "local", "clip": {"norm": 0.5}, "noise_multiplier": 3.0, "delta": 0.02}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}


def reporting(make_plan, **privacy):
    """The busiest of its clients is in four of six rounds."""
    plan = make_plan(rounds=6, aggregator=UNIFORM, privacy=LOCAL | privacy)
    assert num_rounds_of(plan, 6).max() == 4
    return plan


@pytest.mark.parametrize("seed", range(5))
def test_of_reports_the_bound_is_close_to_what_is_exactly_true(make_plan, seed):
    """Four Gaussians of two updates that are opposite: twice the clip apart."""
    found = audit(reporting(make_plan), SAMPLERS["everybody"], seed=seed)
    truth = gaussian_epsilon(3.0 / 4**0.5, 2.0, 0.02)
    assert found.claimed == pytest.approx(truth, rel=1e-6)
    assert (found.releases, found.adjacency) == (4, "replace")
    assert 0.55 * truth < found.measured < truth


ON_EACH = PrivateUpdate.on_each


def noise_of_reports(part):
    def lessened(self, delta, record, stream):
        quiet = self.model_copy(update={"noise_multiplier": self.noise_multiplier * part})
        return ON_EACH(quiet, delta, record, stream)

    return lessened


def reports_without_a_clip(self, delta, record, stream):
    noise = ON_EACH(self, {name: np.zeros_like(value) for name, value in delta.items()}, record, stream)
    return {name: value + noise[name] for name, value in delta.items()}


def reports_clipped_at_twice_the_norm(self, delta, record, stream):
    wide = self.model_copy(update={"norm": 2 * self.norm, "noise_multiplier": self.noise_multiplier / 2})
    return ON_EACH(wide, delta, record, stream)


@pytest.mark.parametrize(
    "broken",
    [noise_of_reports(0.5), noise_of_reports(0.1), reports_without_a_clip, reports_clipped_at_twice_the_norm],
    ids=["half the noise", "a tenth of the noise", "no clip", "twice the norm"],
)
def test_broken_reports_are_refuted(make_plan, monkeypatch, broken):
    plan = reporting(make_plan)
    monkeypatch.setattr(PrivateUpdate, "on_each", broken)
    found = audit(plan, All(), seed=0)
    assert found.is_refuted
    assert found.is_broken


def test_secret_noise_of_reports_is_audited_with_a_key_of_its_own(make_plan):
    found = audit(reporting(make_plan, seed="secret"), All(), seed=0)
    assert found.claimed / 2 < found.measured < found.claimed
