"""A round of the same plan on each backend, beside the floor. Steady state: start-up and first rounds left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floor import bare_rounds
from flspec.compiler.compile import compile
from flspec.protocol.backend import Job
from flspec.protocol.events import RunStarted
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from tests.conformance.harness import Engines

WARM_UP, MEASURED = 3, 15
MODELS = {
    "mlp": "{kind: mlp, hidden: [200]}",
    "cnn": "{kind: cnn, channels: [16, 32], kernel_size: 5, dense: [128]}",
}
BACKENDS = ("local", "flower:inprocess", "flower:ray", "tff")


@pytest.fixture(scope="session", params=MODELS)
def plan(request: pytest.FixtureRequest, is_measured: bool) -> Plan:
    return compile(
        parse_spec(f"""
flspec: 1
name: {request.param}
rounds: {WARM_UP + MEASURED}
dataset: {{kind: digits}}
partition: {{kind: iid, clients: 10}}
model: {MODELS[request.param]}
client: {{epochs: {5 if is_measured else 1}, batch_size: 32, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
aggregator: {{kind: fedavg}}
evaluation: {{every: 1000}}
""")
    )


def measure(benchmark: BenchmarkFixture, plan: Plan, rounds: Iterator[object]) -> None:
    benchmark.group = f"a round: {plan.spec['name']}, 10 clients, {len(plan.cohort(1)[0].batches)} steps each"
    for _ in range(WARM_UP):
        next(rounds)
    benchmark.pedantic(next, args=(rounds,), rounds=MEASURED)


def test_floor(benchmark: BenchmarkFixture, plan: Plan) -> None:
    measure(benchmark, plan, bare_rounds(plan))


# The floor has one thread, and so does local beside it; 0 is what each backend takes by itself.
CASES = [("local", 1), ("local", 2), *((backend, 0) for backend in BACKENDS)]


@pytest.mark.parametrize(("backend", "workers"), CASES)
def test_backend(
    benchmark: BenchmarkFixture, plan: Plan, backend: str, workers: int, engines: Engines, tmp_path: Path
) -> None:
    engine = engines(backend)
    assert engine.unsupported(plan) == []
    with closing(engine.execute(plan, Job(tmp_path / "run", workers=workers))) as events:
        assert isinstance(next(events), RunStarted)
        measure(benchmark, plan, events)


@pytest.mark.holds_times
def test_a_rehearsal_is_about_what_a_run_takes(plan: Plan, engines: Engines, tmp_path: Path) -> None:
    """Factor 5: what is caught is a wrong scale, not a busy machine."""
    backend = engines("local")
    list(backend.execute(plan, Job(tmp_path / "first")))  # imports torch and reads the data
    began = time.perf_counter()
    list(backend.execute(plan, Job(tmp_path / "second")))
    taken = (time.perf_counter() - began) / plan.num_rounds
    rehearsal = backend.rehearse(plan)
    assert rehearsal
    assert 1 / 5 < rehearsal.seconds_a_round / taken < 5
