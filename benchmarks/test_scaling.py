"""How a round of `local` grows with its cohort, the population, the model and the workers, beside the floor's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.floor import bare_rounds
from benchmarks.measuring import measure
from flspec.compiler.compile import compile
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.spec.loading import load_spec
from tests.conformance.harness import Engines

WARM_UP, PAIRS = 1, 5
SOFTMAX: dict[str, Any] = {"kind": "softmax_regression"}


class Scale:
    """Times a round of `local` beside the floor's, of the same plan."""

    def __init__(self, benchmark: BenchmarkFixture, engines: Engines, folder: Path, is_measured: bool) -> None:
        self._benchmark, self._engines, self._folder, self._is_measured = benchmark, engines, folder, is_measured

    def time(
        self,
        group: str,
        clients: int,
        cohort: int,
        model: Mapping[str, Any] = SOFTMAX,
        features: int = 16,
        steps: int = 1,
        workers: int = 1,
    ) -> None:
        """Time rounds of so many steps of ten examples, of each client of the cohort."""
        if not self._is_measured:
            clients, cohort = max(1, clients // 100), max(1, cohort // 100)
        rounds = WARM_UP + PAIRS if self._is_measured else 1
        plan = _plan(clients, cohort, model, features, steps, rounds)
        with closing(self._engines("local").execute(plan, Job(self._folder, workers=workers))) as events:
            next(events)  # the start
            measure(
                self._benchmark,
                group,
                partial(next, events),
                partial(next, bare_rounds(plan)),
                pairs=PAIRS,
                warm_up=WARM_UP,
                cores=workers,
            )


def _plan(clients: int, cohort: int, model: Mapping[str, Any], features: int, steps: int, rounds: int) -> Plan:
    rows = 10 * steps * clients
    document = {
        "flspec": 1,
        "name": "scale",
        "rounds": rounds,
        "dataset": {"kind": "synthetic", "features": features, "train_examples": rows, "test_examples": 100},
        "partition": {"kind": "iid", "clients": clients},
        "model": model,
        "client": {"epochs": 1, "batch_size": 10, "optimizer": {"kind": "sgd", "learning_rate": 0.01}},
        "cohort": {"kind": "uniform", "size": cohort},
        "evaluation": {"every": rounds},
    }
    return compile(load_spec(document))


@pytest.fixture
def scale(benchmark: BenchmarkFixture, engines: Engines, tmp_path: Path, is_measured: bool) -> Scale:
    return Scale(benchmark, engines, tmp_path, is_measured)


@pytest.mark.parametrize("clients", [250, 500, 1000, 2000])
def test_cohort(scale: Scale, clients: int) -> None:
    scale.time("clients in a round, of one step", clients, clients)


@pytest.mark.parametrize("clients", [100, 1000, 10_000, 100_000])
def test_population(scale: Scale, clients: int) -> None:
    scale.time("clients, 100 of them in a round", clients, 100)


@pytest.mark.parametrize("units", [64, 256, 1024, 4096])
def test_model(scale: Scale, units: int) -> None:
    model = {"kind": "mlp", "hidden": [units]}
    scale.time("hidden units, 4 clients of 10 steps", 4, 4, model, features=784, steps=10)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers(scale: Scale, workers: int) -> None:
    """Steps of a tenth of a gigaflop: long enough that workers pay."""
    model = {"kind": "mlp", "hidden": [2048, 1024]}
    scale.time("workers, 8 clients of 10 steps", 8, 8, model, features=784, steps=10, workers=workers)
