"""A round by the number of its clients: what a client costs must not depend on how many there are."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floor import bare_rounds
from benchmarks.measuring import measure, paused
from flspec.compiler.compile import compile
from flspec.execution.remote import Remote
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from tests.conformance.harness import Engines

COHORTS = (500, 4000)
BACKENDS = ("local", "flower:inprocess")
MOST_GROWTH = 20.0  # in time, for eight times the clients: linear is 8, quadratic 64


def plan_of(clients: int, rounds: int) -> Plan:
    """Every client in every round, with ten examples of its own in one step."""
    return compile(
        parse_spec(f"""
flspec: 1
name: cohort
rounds: {rounds}
dataset: {{kind: synthetic, classes: 10, features: 16, train_examples: {10 * clients}, test_examples: 100}}
partition: {{kind: iid, clients: {clients}}}
model: {{kind: softmax_regression}}
client: {{epochs: 1, batch_size: 10, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
""")
    )


@pytest.mark.holds_times  # among the tests, those of conformance run it
@pytest.mark.parametrize("clients", COHORTS)
def test_round_of_flower(benchmark: BenchmarkFixture, engines: Engines, tmp_path: Path, clients: int) -> None:
    """Of Flower within one process; `test_scaling.py` has those of local."""
    plan = plan_of(clients, 7)
    engine, group = engines("flower:inprocess"), f"a round of {clients:,} clients of one step on flower:inprocess"
    with closing(engine.execute(plan, Job(tmp_path, workers=2))) as events:
        next(events)  # the start
        step, floor = partial(next, events), partial(next, bare_rounds(plan))
        pause = partial(paused, engine.process if isinstance(engine, Remote) else None)
        measure(benchmark, group, step, floor, pairs=5, cores=2, pause=pause)
        list(events)


@pytest.mark.holds_times
@pytest.mark.parametrize("backend", BACKENDS)
def test_time_grows_with_the_clients(engines: Engines, tmp_path: Path, backend: str) -> None:
    assert (
        seconds(engines, tmp_path, backend, COHORTS[-1]) / seconds(engines, tmp_path, backend, COHORTS[0]) < MOST_GROWTH
    )


def seconds(engines: Engines, folder: Path, backend: str, clients: int) -> float:
    """The least of three rounds, after the first."""
    times = []
    with closing(engines(backend).execute(plan_of(clients, 4), Job(folder / str(clients), workers=2))) as events:
        next(events)
        next(events)
        for _ in range(3):
            began = time.perf_counter()
            next(events)
            times.append(time.perf_counter() - began)
    return min(times)
