"""The parts around training: compiling, loading a plan, aggregating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flspec.aggregators import Aggregator
from flspec.aggregators.fedadam import FedAdam
from flspec.aggregators.fedavg import FedAvg
from flspec.compiler.compile import compile
from flspec.execution.rounds import initial_state
from flspec.execution.server_step import finish_round
from flspec.protocol.plan import ClientTask, Plan
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
    benchmark.group = "compile: 100,000 examples, 1,000 clients, 50 rounds of 50"
    benchmark.pedantic(compile, args=(spec,), rounds=5, warmup_rounds=1)


def test_plan_load(benchmark: BenchmarkFixture, plan: Plan, tmp_path: Path) -> None:
    benchmark.group = "load and verify the same plan"
    plan.save(tmp_path)
    benchmark.pedantic(Plan.load, args=(tmp_path,), rounds=10, warmup_rounds=1)


@pytest.fixture(scope="session")
def updates() -> list[ClientUpdate]:
    rng = np.random.default_rng(0)
    deltas = [rng.normal(size=SHAPE).astype(np.float32) for _ in range(CLIENTS)]
    return [ClientUpdate(number, {"w": delta}, 10 + number, 1, {}) for number, delta in enumerate(deltas)]


@pytest.mark.parametrize("aggregator", [FedAvg(), FedAdam(learning_rate=0.1)], ids=["fedavg", "fedadam"])
def test_aggregation(benchmark: BenchmarkFixture, updates: list[ClientUpdate], aggregator: Aggregator) -> None:
    benchmark.group = f"aggregate {CLIENTS} updates of {SHAPE[0] * SHAPE[1]:,} parameters"
    plan = Plan.build(
        settings=settings_with(aggregator=aggregator.model_dump(mode="json")),
        weights={"w": np.zeros(SHAPE, np.float32)},
        clients=[np.arange(1)],
        rounds=[[ClientTask(0, 1, (np.arange(1),))]],
        spec={},
    )
    benchmark.pedantic(finish_round, args=(plan, initial_state(plan), updates), rounds=10, warmup_rounds=1)


def test_aggregation_floor(benchmark: BenchmarkFixture, updates: list[ClientUpdate]) -> None:
    """The weighted sum alone, in float32 and in place."""
    benchmark.group = f"aggregate {CLIENTS} updates of {SHAPE[0] * SHAPE[1]:,} parameters"

    def add_up() -> np.ndarray:
        total, mean = sum(u.weight for u in updates), np.zeros(SHAPE, np.float32)
        for update in updates:
            mean += np.float32(update.weight / total) * update.delta["w"]
        return mean

    benchmark.pedantic(add_up, rounds=10, warmup_rounds=1)
