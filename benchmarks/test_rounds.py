"""A round of the same plan on each backend, beside the floor. Steady state: start-up and first rounds left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import cache, partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floor import bare_rounds
from benchmarks.measuring import ALL_CORES, measure, paused
from benchmarks.workloads import SHARED, WORKLOADS
from flspec.execution.remote import Remote
from flspec.protocol.backend import Backend, Job
from flspec.protocol.events import RoundFinished, RunStarted
from flspec.protocol.plan import Plan
from tests.conformance.harness import Engines

SETTLED = 6.0  # seconds after which local has started the workers that pay, and they train
LONG = ("cnn", "cifar", "resnet18")  # seconds a round
# The floor has one thread, and so does local beside it; ALL_CORES is what each backend takes by itself.
LOCAL = [("local", 1), ("local", ALL_CORES)]
OTHERS = [
    ("local:processes", ALL_CORES),
    ("flower:inprocess", ALL_CORES),
    ("flower:ray", ALL_CORES),
    ("tff", ALL_CORES),
]
AMONG_THE_TESTS = {"mlp-flower:inprocess-0", "mlp-tff-0"}  # others are run by the tests of conformance


def cases() -> Iterator[object]:
    for name in WORKLOADS:
        for backend, workers in (*LOCAL, *OTHERS) if name in SHARED else LOCAL:
            case = f"{name}-{backend}-{workers}"
            is_measured_only = case not in AMONG_THE_TESTS and (backend != "local" or workers == 1)
            marks = pytest.mark.holds_times if is_measured_only else ()
            yield pytest.param(name, backend, workers, id=case, marks=marks)


@cache
def plan_of(name: str, rounds: int, small: bool) -> Plan:
    return WORKLOADS[name].plan(rounds, small)


@pytest.mark.parametrize(("name", "backend", "workers"), list(cases()))
def test_backend(
    benchmark: BenchmarkFixture,
    name: str,
    backend: str,
    workers: int,
    engines: Engines,
    tmp_path: Path,
    is_measured: bool,
) -> None:
    engine, workload, pairs = engines(backend), WORKLOADS[name], 3 if name in LONG else 9
    is_local = not isinstance(engine, Remote)
    plan = plan_of(name, (workload.rounds if is_local else pairs + 1) if is_measured else 1, not is_measured)
    assert engine.unsupported(plan) == []
    floor = bare_rounds(plan)
    with closing(engine.execute(plan, Job(tmp_path / "run", workers=workers))) as events:
        assert isinstance(next(events), RunStarted)
        if is_local and is_measured:
            settle(events)
        measure(
            benchmark,
            f"a round: {workload.title}, {workload.cohort}",
            partial(next, events),
            partial(next, floor),
            pairs=pairs,
            cores=workers,
            pause=partial(paused, engine.process if isinstance(engine, Remote) else None),
        )
        if not is_local:
            assert not list(events)[:-1]  # to its end, so that the engine can take another plan


def settle(events: Iterator[object]) -> None:
    """Have rounds go by until the backend is at its pace."""
    began = time.perf_counter()
    while time.perf_counter() - began < SETTLED:
        next(events)


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name not in ("cifar", "dcgan")])
def test_the_floor_takes_the_same_steps(name: str, engines: Engines, tmp_path: Path) -> None:
    """Those two draw in training, and the floor draws otherwise."""
    plan = plan_of(name, 1, small=True)
    losses = [
        event.train["loss"]
        for event in engines("local").execute(plan, Job(tmp_path))
        if isinstance(event, RoundFinished)
    ]
    assert losses == pytest.approx(list(bare_rounds(plan)), rel=1e-4)


@pytest.mark.holds_times
def test_a_rehearsal_is_about_what_a_run_takes(engines: Engines, tmp_path: Path) -> None:
    """Factor 5: what is caught is a wrong scale, not a busy machine."""
    backend, plan = engines("local"), plan_of("mlp", 10, small=False)
    list(backend.execute(plan, Job(tmp_path / "first")))  # imports torch and reads the data
    taken = seconds_a_round(backend, plan, tmp_path / "second")
    rehearsal = backend.rehearse(plan)
    assert rehearsal
    assert 1 / 5 < rehearsal.seconds_a_round / taken < 5


def seconds_a_round(backend: Backend, plan: Plan, folder: Path) -> float:
    began = time.perf_counter()
    list(backend.execute(plan, Job(folder)))
    return (time.perf_counter() - began) / plan.num_rounds
