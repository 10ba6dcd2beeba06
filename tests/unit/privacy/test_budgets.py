"""`privacy.stop`: the last round is the last that nobody pays more than the budget for, whoever adds the noise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.errors import SpecError
from flspec.execution.ledger import LEDGER, num_releases
from flspec.runs.runner import run
from tests.unit.privacy.privacy_cases import gaussian_epsilon

UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
KINDS = {
    "central": {"kind": "central", "clip": {"kind": "fixed", "norm": 0.5}, "noise_multiplier": 3.0, "delta": 1e-3},
    "local": {"kind": "local", "clip": {"norm": 0.5}, "noise_multiplier": 12.0, "delta": 1e-3},
    "example": {"kind": "example", "clip": {"norm": 0.5}, "noise_multiplier": 3.0, "delta": 1e-3},
}
BUDGETS = {"central": 2.0, "local": 1.0, "example": 2.0}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture
def private(make_plan):
    def make(kind, rounds=24, **stop):
        return make_plan(rounds=rounds, aggregator=UNIFORM, privacy=KINDS[kind] | stop)

    return make


def client_costs(plan, kind, rounds):
    """What the first rounds cost each client, by what it did in them, without flspec's arithmetic."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    tasks = [task for number in range(1, rounds + 1) for task in plan.cohort(number)]
    for client in range(plan.num_clients):
        own = [task for task in tasks if task.client == client]
        if kind == "local":
            yield gaussian_epsilon(12.0 / np.sqrt(len(own)), 2.0, 1e-3) if own else 0.0
        elif steps := sum(len(task.batches) for task in own):
            event = PoissonSampledDpEvent(5 / len(plan.client_examples(client)), GaussianDpEvent(3.0))
            yield PLDAccountant().compose(event, steps).get_epsilon(1e-3)


@pytest.mark.parametrize("kind", ["local", "example"])
def test_a_round_in_which_any_client_would_pass_the_budget_does_not_take_place(private, kind):
    whole, cut = private(kind), private(kind, stop={"epsilon": BUDGETS[kind]})
    last = cut.num_rounds
    assert 0 < last < whole.num_rounds == 24
    assert max(client_costs(whole, kind, last)) <= BUDGETS[kind] < max(client_costs(whole, kind, last + 1))
    assert np.mean(list(client_costs(whole, kind, last + 1))) <= BUDGETS[kind], "a mean over clients would go on"
    for number in range(1, last + 1):
        assert [task.client for task in cut.cohort(number)] == [task.client for task in whole.cohort(number)]


@every_kind
@pytest.mark.parametrize("backend", ["local", "flower:inprocess"])
def test_the_ledger_and_the_result_say_that_a_budget_ended_the_run(private, tmp_path, kind, backend):
    plan = private(kind, stop={"epsilon": BUDGETS[kind]})
    result = run(plan, backend=backend, out=tmp_path / "run")
    assert result.status == "completed"
    assert result.privacy
    assert len(result.rounds) == result.privacy.rounds == num_releases(tmp_path / "run") == plan.num_rounds
    assert result.privacy.epsilon is not None
    assert result.privacy.epsilon <= BUDGETS[kind]
    said = f"Its budget, epsilon {BUDGETS[kind]:g}, ends it after {plan.num_rounds} of 24 rounds."
    assert result.privacy.statement.endswith(said)
    last = json.loads((tmp_path / "run" / LEDGER).read_text().splitlines()[-1])
    assert last == {"ended_after": plan.num_rounds, "budget": BUDGETS[kind]}


@every_kind
def test_a_budget_that_is_not_reached_is_not_named(private, tmp_path, kind):
    result = run(private(kind, rounds=3, stop={"epsilon": 500.0}), out=tmp_path / "run")
    assert result.privacy
    assert "budget" not in result.privacy.statement
    assert "budget" not in (tmp_path / "run" / LEDGER).read_text()
    assert num_releases(tmp_path / "run") == 3


@every_kind
def test_a_budget_that_the_first_release_passes_is_refused(private, kind):
    with pytest.raises(SpecError, match=r"privacy\.stop: epsilon is 0\.001, but one round costs"):
        private(kind, stop={"epsilon": 0.001})


@every_kind
def test_noise_for_all_rounds_and_a_smaller_budget_go_together(private, kind):
    both = {"noise_multiplier": None, "epsilon": 3.0, "stop": {"epsilon": 1.5}}
    cut, whole = private(kind, **both), private(kind, noise_multiplier=None, epsilon=3.0)
    assert cut.num_rounds < whole.num_rounds
    assert cut.settings.privacy.noise_multiplier == whole.settings.privacy.noise_multiplier
