"""What local noise and private steps cost, by whom they cost most, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from flspec.errors import SpecError
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.postprocessors.private_update import PrivateUpdate
from flspec.privacy import accountant
from flspec.privacy.spending import cost_after, example_charges
from flspec.privacy.statement import privacy_record
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate
from tests.unit.privacy.privacy_cases import gaussian_epsilon

UNIFORM = {"kind": "fedavg", "weighting": "uniform"}


def local(**settings):
    return {"kind": "local", "clip": {"norm": 0.5}, "delta": 1e-3} | settings


def example(**settings):
    return {"kind": "example", "clip": {"norm": 0.5}, "delta": 1e-2} | settings


# ------------------------------------------------------------------------------------------------------------- local


def rounds_of_clients(plan, rounds):
    clients = [task.client for number in range(1, rounds + 1) for task in plan.cohort(number)]
    return [clients.count(client) for client in range(plan.num_clients)]


def test_local_noise_costs_what_the_busiest_client_pays_for_its_own_rounds(make_plan):
    """By the definition of delta, for two updates twice the clip apart."""
    plan = make_plan(rounds=6, aggregator=UNIFORM, privacy=local(noise_multiplier=3.0))
    for rounds in range(1, 7):
        busiest = max(rounds_of_clients(plan, rounds))
        cost = cost_after(plan, rounds)
        assert cost.releases == busiest
        assert cost.spent.epsilon == pytest.approx(gaussian_epsilon(3.0 / np.sqrt(busiest), 2.0, 1e-3), rel=1e-6)
    assert cost_after(plan, 6).spent.epsilon > 1.5 * gaussian_epsilon(3.0 / np.sqrt(busiest), 1.0, 1e-3)
    assert max(rounds_of_clients(plan, 6)) < 6, "every client is in every round, so nothing is told"


def test_the_noise_for_a_local_epsilon_reaches_it_and_no_more(make_plan):
    plan = make_plan(rounds=6, aggregator=UNIFORM, privacy=local(epsilon=3.0))
    found = cost_after(plan, 6).spent.epsilon
    assert 3.0 * (1 - 1e-3) < found <= 3.0


def test_the_spread_of_local_epsilon_is_over_the_clients_that_took_part(make_plan):
    plan = make_plan(rounds=4, aggregator=UNIFORM, privacy=local(noise_multiplier=3.0))
    times = [times for times in rounds_of_clients(plan, 4) if times]
    spread, record = privacy_record(plan, 4).clients, privacy_record(plan, 4)
    assert spread
    assert spread.most == record.epsilon == pytest.approx(gaussian_epsilon(3 / np.sqrt(max(times)), 2, 1e-3), rel=1e-6)
    assert spread.least == pytest.approx(gaussian_epsilon(3 / np.sqrt(min(times)), 2, 1e-3), rel=1e-6)
    assert (record.unit, record.mechanism, record.adjacency) == ("client", "local", "replace")


@pytest.mark.parametrize("noise", [0.0, 1e-308])
@pytest.mark.parametrize("kind", [local, example])
def test_with_hardly_any_noise_a_record_promises_nothing(make_plan, kind, noise):
    record = privacy_record(make_plan(rounds=2, aggregator=UNIFORM, privacy=kind(noise_multiplier=noise)), 2)
    assert (record.epsilon, record.clients, record.curve) == (None, None, ())
    assert record.statement.startswith(f"{'Hardly any' if noise else 'No'} noise is added, so nothing is promised")


def released(plan, values, number=0):
    """What the server's step makes of updates that have one value in every place."""
    state, shapes = initial_state(plan), {name: value.shape for name, value in plan.weights.items()}
    updates = [
        ClientUpdate(task.client, {name: np.full(shape, value) for name, shape in shapes.items()}, 1, 5, {"loss": 1.0})
        for task, value in zip(plan.cohort(1), values, strict=False)
    ]
    moved = finish_round(plan, state, updates).state.weights
    return np.concatenate([(moved[name] - state.weights[name]).ravel() for name in moved])


def test_each_clients_update_gets_noise_of_its_own(make_plan):
    """With n clients the mean's noise has the deviation z C / sqrt(n); with one noise for all it would be z C."""
    wide = {"kind": "mlp", "hidden": [20_000]}
    plan = make_plan(model=wide, rounds=1, aggregator=UNIFORM, privacy=local(noise_multiplier=100.0))
    for num_clients in (1, 3):
        noise = released(plan, [0.0] * num_clients)
        assert len(noise) > 150_000
        assert noise.std() == pytest.approx(100 * 0.5 / np.sqrt(num_clients), rel=0.01)


@pytest.mark.parametrize("value", [1e-30, 1.0, 1e30])
def test_an_update_is_bounded_before_it_is_noised(make_plan, value):
    silent = make_plan(rounds=1, aggregator=UNIFORM, privacy=local(noise_multiplier=0.0))
    assert np.linalg.norm(released(silent, [value])) <= 0.5 * (1 + 1e-6)


def test_a_scalar_and_an_empty_tensor_are_clipped_and_noised():
    from flspec.core.randomness import Stream

    delta = {"scalar": np.array(1000.0), "empty": np.zeros((0, 3)), "some": np.full((2, 2), 10.0)}
    found = PrivateUpdate(norm=1.0, noise_multiplier=0.0).on_each(delta, {}, Stream(1))
    assert {name: value.shape for name, value in found.items()} == {"scalar": (), "empty": (0, 3), "some": (2, 2)}
    assert np.sqrt(sum((value**2).sum() for value in found.values())) == pytest.approx(1.0)
    noised = PrivateUpdate(norm=1.0, noise_multiplier=1.0).on_each(delta, {}, Stream(1))
    assert noised["scalar"] != found["scalar"]


# ----------------------------------------------------------------------------------------------------------- example


def test_private_steps_cost_what_they_cost_the_dearest_client(make_plan):
    """By dp-accounting, for each client's own number of examples and steps."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    sizes = {"kind": "dirichlet_sizes", "clients": 5, "alpha": 1.0}
    plan = make_plan(rounds=4, partition=sizes, privacy=example(noise_multiplier=1.5))
    epsilons = {}
    for client in range(5):
        tasks = [task for number in range(1, 5) for task in plan.cohort(number) if task.client == client]
        num_examples, steps = len(plan.client_examples(client)), sum(len(task.batches) for task in tasks)
        event = PoissonSampledDpEvent(min(1.0, 5 / num_examples), GaussianDpEvent(1.5))
        if steps:
            epsilons[client] = PLDAccountant().compose(event, steps).get_epsilon(1e-2)
    assert cost_after(plan, 4).spent.epsilon == pytest.approx(max(epsilons.values()), rel=1e-3)
    assert max(epsilons.values()) > 1.2 * min(epsilons.values())
    record = privacy_record(plan, 4)
    assert (record.unit, record.mechanism) == ("example", "example")
    assert "promises nothing about a client as a whole" in record.statement


def test_clients_whom_another_exceeds_are_left_out_and_no_other():
    facts = PrivacySettings("example", 1.0, 1e-3, "poisson", 1, 4.0, "add_or_remove", mechanism="example")
    sizes, steps = np.array([10, 10, 20, 30, 2]), np.array([5, 7, 7, 9, 1])
    charges = [(charge.population, charge.cohort, count) for charge, count in example_charges(facts, sizes, steps)]
    assert charges == [(2, 2.0, 1), (10, 4.0, 7), (30, 4.0, 9)]
    every = [accountant.spent(facts.__class__(**{**vars(facts), "population": int(n), "cohort": min(4.0, n)}), int(t))
             for n, t in zip(sizes, steps, strict=True)]  # fmt: skip
    kept = [accountant.spent(charge, count) for charge, count in example_charges(facts, sizes, steps)]
    assert max(one.epsilon for one in kept) == max(one.epsilon for one in every)


def test_the_noise_for_an_epsilon_of_examples_is_enough_for_every_client(make_plan):
    sizes = {"kind": "dirichlet_sizes", "clients": 5, "alpha": 1.0}
    plan = make_plan(rounds=4, partition=sizes, privacy=example(epsilon=2.0))
    assert 2.0 * (1 - 1e-3) < cost_after(plan, 4).spent.epsilon <= 2.0


def test_batches_are_drawn_example_by_example(make_plan):
    """Each example is in a batch with batch_size / examples, whoever else is: sizes vary as a binomial does."""
    one = {"kind": "iid", "clients": 1}
    client = {"steps": 2000, "batch_size": 6, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    cohort, rounds = {"kind": "all"}, 1
    plan = make_plan(partition=one, client=client, cohort=cohort, rounds=rounds, privacy=example(noise_multiplier=1.0))
    (task,) = plan.cohort(1)
    sizes = np.array([len(batch) for batch in task.batches])
    assert abs(sizes.mean() - 6) < 5 * np.sqrt(60 * 0.1 * 0.9 / 2000)
    assert sizes.var() == pytest.approx(60 * 0.1 * 0.9, rel=0.15)
    times = np.bincount(np.concatenate(task.batches), minlength=60)
    assert np.abs(times - 200).max() < 6 * np.sqrt(2000 * 0.1 * 0.9)
    together = sum({0, 1} <= set(batch.tolist()) for batch in task.batches)
    assert abs(together - 20) < 6 * np.sqrt(20)
    assert all(len(set(batch.tolist())) == len(batch) for batch in task.batches)


@pytest.mark.parametrize("mode", ["centralized", "local_only"])
def test_privacy_of_examples_is_kept_in_every_mode(make_plan, mode):
    plan = make_plan(mode=mode, privacy=example(noise_multiplier=1.0))
    assert plan.settings.private_steps is not None
    assert plan.settings.privacy.population == (60 if mode == "centralized" else 12)
    with pytest.raises(SpecError, match=rf"mode: {mode} has no cohorts to hide a client in"):
        make_plan(mode=mode, aggregator=UNIFORM, privacy=local(noise_multiplier=1.0))


# ---------------------------------------------------------------------------------------------------------- refusals

SGD = {"kind": "sgd", "learning_rate": 0.1}
CLIENT = {"epochs": 1, "batch_size": 5, "optimizer": SGD}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"client": CLIENT | {"clip": {"norm": 1.0}}}, r"client\.clip: bounds a whole batch"),
        ({"client": CLIENT | {"batch_across_epochs": True}}, r"client\.batch_across_epochs: deals examples out"),
        ({"client": CLIENT | {"shuffle": False}}, r"client\.shuffle: keeps an order"),
        ({"client": CLIENT | {"max_examples": 3}}, r"client\.max_examples: chooses examples"),
        (
            {
                "client": CLIENT | {"optimizer": SGD | {"schedule": {"kind": "plateau"}}},
                "partition": {"kind": "iid", "clients": 5, "holdout": 0.2},
            },
            r"client\.optimizer\.schedule: follows what is measured",
        ),
        ({"privacy": example()}, r"privacy: needs noise_multiplier or epsilon, but neither is given"),
        ({"privacy": example(noise_multiplier=1.0, epsilon=1.0)}, r"privacy: needs .* but both are given"),
        ({"privacy": example(noise_multiplier=1.0, delta=0.1)}, r"privacy\.delta: is 0\.1, not below 1 / 12 examples"),
        ({"privacy": local(noise_multiplier=1.0), "aggregator": {"kind": "fedavg"}}, r"aggregator: weighs by examples"),
        ({"privacy": local(noise_multiplier=1.0, delta=0.5), "aggregator": UNIFORM}, r"privacy\.delta: is 0\.5"),
        (
            {
                "privacy": local(noise_multiplier=1.0),
                "aggregator": UNIFORM,
                "postprocessors": [{"kind": "clip_update", "norm": 1.0}],
            },
            r"postprocessors: work on updates beside privacy",
        ),
    ],
)  # fmt: skip
def test_what_would_break_a_promise_is_refused_at_its_field(make_plan, sections, message):
    with pytest.raises(SpecError, match=message):
        make_plan(**{"privacy": example(noise_multiplier=1.0)} | sections)


@pytest.mark.parametrize("policy", ["averaged", "local"])
def test_batch_norm_that_mixes_examples_is_refused_with_privacy_of_examples(make_plan, policy):
    model = {"kind": "resnet18", "norm": "batch", "batch_norm": policy}
    with pytest.raises(SpecError, match=r"model\.batch_norm: has every example of a batch change the others"):
        make_plan(dataset={"kind": "digits"}, model=model, privacy=example(noise_multiplier=1.0, delta=1e-3))
