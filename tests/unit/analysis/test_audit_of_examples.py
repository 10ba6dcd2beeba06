"""The audit of private steps: carried out by the reference backend, right ones hold and broken ones are caught."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flspec.analysis.audit import audit
from flspec.samplers.all import All
from flspec_torch import private_steps, supervised
from tests.unit.privacy.privacy_cases import gaussian_epsilon

EXAMPLE = {"kind": "example", "clip": {"norm": 0.3}, "noise_multiplier": 2.0, "delta": 0.02}


def plan_of(make_plan, batch_size=4, rounds=3, **privacy):
    """Five clients of 12 examples each; the dearest takes 3 steps a round of 4 examples, expected."""
    client = {"epochs": 1, "batch_size": batch_size, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    return make_plan(rounds=rounds, client=client, cohort={"kind": "all"}, privacy=EXAMPLE | privacy)


@pytest.mark.parametrize("seed", range(3))
def test_steps_that_are_right_hold_their_claim(make_plan, seed):
    found = audit(plan_of(make_plan), All(), trials=4000, seed=seed)
    assert (found.mechanism, found.releases, found.adjacency) == ("example", 9, "add_or_remove")
    assert 0.25 * found.claimed < found.measured < found.claimed


@pytest.mark.parametrize("norm", [1e-9, 0.3, 1e9])
def test_where_every_example_is_in_every_batch_the_bound_is_close_to_what_is_exactly_true(make_plan, norm):
    """One step a round of all 12 examples: three Gaussians."""
    found = audit(plan_of(make_plan, batch_size=12, clip={"norm": norm}), All(), trials=6000, seed=0)
    truth = gaussian_epsilon(2.0 / 3**0.5, 1.0, 0.02)
    assert found.releases == 3
    assert found.claimed == pytest.approx(truth, rel=1e-6)
    assert truth / 2 < found.measured < truth


def test_more_trials_than_one_execution_has_weights_are_trials_of_their_own(make_plan):
    """Beyond 4,096 a second execution goes on, with other noise and other coins."""
    plan = plan_of(make_plan, rounds=1)
    several, few = (audit(plan, All(), trials=trials, seed=0) for trials in (8192, 4096))
    assert several.false_alarms + several.misses != 2 * (few.false_alarms + few.misses)
    assert several.num_tested == 4096


ADD_CLIPPED, ADD_NOISE = private_steps._add_clipped, private_steps.add_noise


def noise_of_steps(part):
    def lessened(sums, bound, divisor, stream):
        return ADD_NOISE(sums, replace(bound, noise_multiplier=part * bound.noise_multiplier), divisor, stream)

    return supervised, "add_noise", lessened


def steps_without_a_clip(sums, gradients, norm):
    return ADD_CLIPPED(sums, gradients, float("1e30"))


def steps_clipped_at_twice_the_norm(sums, gradients, norm):
    return ADD_CLIPPED(sums, gradients, 2 * norm)


def every_step_clipped_as_one(sums, gradients, norm):
    """The sum of the batch is clipped, which bounds no example: alone in its batch, or not, one changes the rest."""
    total = {name: value.sum(0, keepdim=True) for name, value in gradients.items()}
    return ADD_CLIPPED(sums, total, norm * len(next(iter(gradients.values()))))


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        noise_of_steps(0.5),
        noise_of_steps(0.1),
        (private_steps, "_add_clipped", steps_without_a_clip),
        (private_steps, "_add_clipped", steps_clipped_at_twice_the_norm),
        (private_steps, "_add_clipped", every_step_clipped_as_one),
    ],
    ids=["half the noise", "a tenth of the noise", "no clip", "twice the norm", "the batch is clipped"],
)
def test_broken_steps_are_refuted(make_plan, monkeypatch, module, name, broken):
    plan = plan_of(make_plan)
    monkeypatch.setattr(module, name, broken)
    found = audit(plan, All(), trials=4000, seed=0)
    assert found.is_refuted
    assert found.is_broken


def test_secret_noise_of_steps_is_audited_with_a_key_of_its_own(make_plan):
    found = audit(plan_of(make_plan, seed="secret"), All(), trials=4000, seed=0)
    assert 0.25 * found.claimed < found.measured < found.claimed
