"""Compiling a plan of few clients a round out of very many, beside what no compilation could leave out.

That is to make the examples, to shuffle them among the clients, and a random word of each client in each round.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measuring import measure
from flspec.compiler.compile import compile
from flspec.core.randomness import Stream
from flspec.datasets.synthetic import Synthetic
from flspec.spec.loading import load_spec

ROUNDS, COHORT, EACH = 5, 1000, 3  # rounds, clients in one, examples of one


def compiled(clients: int) -> object:
    document = {
        "flspec": 1,
        "name": "population",
        "rounds": ROUNDS,
        "dataset": _data(clients).model_dump(mode="json"),
        "partition": {"kind": "iid", "clients": clients},
        "model": {"kind": "softmax_regression"},
        "client": {"epochs": 1, "batch_size": 2, "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        "cohort": {"kind": "uniform", "size": min(COHORT, clients)},
    }
    return compile(load_spec(document))


def needed(clients: int) -> None:
    data = _data(clients).load(Path(), Stream(0))
    Stream(0, "partition").permutation(len(data.train))
    for number in range(ROUNDS):
        Stream(0, "cohort", number).words(clients)


def _data(clients: int) -> Synthetic:
    return Synthetic(classes=4, features=8, train_examples=EACH * clients, test_examples=200)


@pytest.mark.parametrize("clients", [10_000, 100_000, 1_000_000])
def test_compile_population(benchmark: BenchmarkFixture, is_measured: bool, clients: int) -> None:
    clients = clients if is_measured else clients // 1000
    compiled(clients)  # puts the examples into the store
    group = f"compile {ROUNDS} rounds of {COHORT:,} clients, by the population"
    measure(benchmark, group, partial(compiled, clients), partial(needed, clients), pairs=3)
