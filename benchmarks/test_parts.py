"""The parts around training: compiling, loading a plan, aggregating, accounting for privacy."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floors_of_parts import add_up, copy_all, draw_batches, epsilon_of, read_and_hash
from benchmarks.measuring import ALL_CORES, measure
from flspec.aggregators import Aggregator
from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.compiler.compile import compile
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.privacy.accountant import spent
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.settings import PrivacySettings
from flspec.protocol.updates import ClientUpdate
from flspec.spec.loading import parse_spec
from flspec.spec.spec import Spec
from tests.plan_settings import settings_with

SPEC = """
flspec: 1
name: large
rounds: 50
dataset: {{kind: synthetic, train_examples: {examples}, test_examples: 100}}
partition: {{kind: dirichlet, clients: {clients}, alpha: 1.0}}
model: {{kind: mlp, hidden: [64]}}
client: {{epochs: 1, batch_size: 20, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
cohort: {{kind: uniform, size: 50}}
"""
CLIENTS, SHAPE = 20, (1000, 500)


@pytest.fixture(scope="session")
def spec(is_measured: bool) -> Spec:
    return parse_spec(SPEC.format(examples=100_000 if is_measured else 1000, clients=1000 if is_measured else 50))


@pytest.fixture(scope="session")
def plan(spec: Spec) -> Plan:
    return compile(spec)


def test_compile(benchmark: BenchmarkFixture, spec: Spec) -> None:
    group = "compile: 100,000 examples, 1,000 clients, 50 rounds of 50"
    measure(benchmark, group, partial(compile, spec), partial(draw_batches, compile(spec)))


def test_plan_load(benchmark: BenchmarkFixture, plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path)
    load, floor = partial(Plan.load, tmp_path), partial(read_and_hash, tmp_path)
    measure(benchmark, "load and verify the same plan", load, floor, pairs=10)


@pytest.fixture(scope="session")
def updates() -> list[ClientUpdate]:
    rng = np.random.default_rng(0)
    deltas = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(CLIENTS)]
    return [ClientUpdate(number, {"w": delta}, 10 + number, 1, {}) for number, delta in enumerate(deltas)]


@pytest.mark.parametrize("aggregator", [FedAvg(), FedAdam(learning_rate=0.1)], ids=["fedavg", "fedadam"])
def test_aggregation(benchmark: BenchmarkFixture, updates: list[ClientUpdate], aggregator: Aggregator) -> None:
    plan = one_round(aggregator, SHAPE)
    group = f"aggregate {CLIENTS} updates of {SHAPE[0] * SHAPE[1]:,} parameters"
    step = partial(finish_round, plan, initial_state(plan), updates)
    measure(benchmark, group, step, partial(add_up, updates), pairs=10)


def one_round(aggregator: Aggregator, shape: tuple[int, ...]) -> Plan:
    return Plan.build(
        settings=settings_with(aggregator=aggregator.model_dump(mode="json")),
        weights={"w": np.zeros(shape, np.float32)},
        clients=[np.arange(1)],
        rounds=[[ClientTask(0, 1, (np.arange(1),))]],
        spec={},
    )


@pytest.mark.parametrize("aggregator", [FedAvg(), FedAdam(learning_rate=0.1)], ids=["fedavg", "fedadam"])
def test_large_aggregation(benchmark: BenchmarkFixture, is_measured: bool, aggregator: Aggregator) -> None:
    """All 4.4 GB are read, of twelve arrays that are larger together than any cache."""
    clients, size = (100, 11_000_000) if is_measured else (4, 1000)
    rng = np.random.default_rng(0)
    deltas = [rng.standard_normal(size, np.float32) for _ in range(min(12, clients))]
    updates = [ClientUpdate(n, {"w": deltas[n % len(deltas)]}, 10 + n, 1, {}) for n in range(clients)]
    plan = one_round(aggregator, (size,))
    step = partial(finish_round, plan, initial_state(plan), updates)
    group = f"aggregate {clients} updates of {size:,} parameters, beside copying them"
    measure(benchmark, group, step, partial(copy_all, updates), cores=ALL_CORES)


def test_accountant(benchmark: BenchmarkFixture, is_measured: bool) -> None:
    """What a thousand private rounds cost; each time with a little more noise, because answers are kept."""
    facts = PrivacySettings("client", 1.0, 1e-6, "poisson", 100_000, 1000.0, "add_or_remove")
    rounds = 1000 if is_measured else 2
    noises = (1.0 + number / 1000 for number in count())

    def account() -> float:
        return spent(replace(facts, noise_multiplier=next(noises)), rounds).epsilon

    def compose() -> float:
        return epsilon_of(next(noises), facts.probability, rounds, facts.delta)

    measure(benchmark, f"what {rounds:,} private rounds cost", account, compose)
