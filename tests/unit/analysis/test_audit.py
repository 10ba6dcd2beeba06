"""The audit of private plans: what is right holds its claim, and each broken mechanism is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flspec.analysis.audit import audit
from flspec.postprocessors.private_mean import PrivateMean
from flspec.samplers.all import All
from flspec.samplers.poisson import Poisson, TruncatedPoisson
from flspec.samplers.uniform import Uniform
from tests.unit.privacy.privacy_cases import facts, gaussian_epsilon
from tests.unit.privacy.rounds import private_plan

CLIENTS, ROUNDS = 8, 3
ADAPTIVE = {"kind": "adaptive", "initial": 0.5, "noise_on_count": 4.0}
SAMPLERS = {
    "everybody": All(),
    "poisson": Poisson(size=4),
    "truncated_poisson": TruncatedPoisson(size=4, most=4),
    "fixed_size": Uniform(size=4),
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


def half_noise(monkeypatch):
    noise = PrivateMean.noise

    def halved(self, record, shapes, stream):
        values, share = noise(self, record, shapes, stream)
        return {name: value / 2 for name, value in values.items()}, share

    monkeypatch.setattr(PrivateMean, "noise", halved)


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
@pytest.mark.parametrize("broken", [half_noise, no_clip, divided_by_replies])
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
