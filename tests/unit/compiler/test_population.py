"""What compiling, describing and running do follows the cohort: ten times the clients are longer arrays, not more work.

Counted are calls of functions, Python's and numpy's, which do not depend on the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.analysis.description import describe_plan
from flspec.core.randomness import Stream
from flspec.partitioners.iid import Iid
from flspec.protocol.plan import Plan
from flspec.runs.evaluation import Evaluator
from flspec.runs.runner import run

FEW, MANY, COHORT, ROUNDS = 40, 400, 4, 3


def num_calls(act: Callable[[], object]) -> int:
    """Count the functions that are called while `act` is."""
    num = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal num
        num += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return num


@pytest.fixture(scope="module")
def compiled(make_plan) -> Callable[[int], Plan]:
    def of(clients: int, cohort: int = COHORT, **more: Any) -> Plan:
        dataset = {"kind": "synthetic", "classes": 3, "features": 2, "train_examples": 3 * clients, "test_examples": 6}
        plan: Plan = make_plan(
            rounds=ROUNDS,
            dataset=dataset,
            partition={"kind": "iid", "clients": clients} | more,
            cohort={"kind": "uniform", "size": cohort},
        )
        return plan

    for clients in (FEW, MANY):
        of(clients)  # puts the examples into the store, and what is done once a process behind
    return of


def test_compiling_calls_no_more_for_more_clients(compiled):
    few, many = (num_calls(partial(compiled, clients)) for clients in (FEW, MANY))
    assert many < few + 100
    assert num_calls(partial(compiled, MANY, 10 * COHORT)) > 1.5 * few  # the cohort is what costs


def test_an_array_for_each_client_would_be_noticed(compiled, monkeypatch):
    few = num_calls(partial(compiled, FEW))
    split = Iid.split
    monkeypatch.setattr(Iid, "split", lambda *of: [np.array(own) for own in split(*of)])
    assert num_calls(partial(compiled, MANY)) > few + 100


def test_draws_are_one_a_task_and_one_a_cohort(compiled, monkeypatch):
    drawn: list[str] = []
    words = Stream.words

    def counted(self: Stream, count: int) -> Any:
        drawn.append(str(self.name[0]))
        return words(self, count)

    monkeypatch.setattr(Stream, "words", counted)
    for clients in (FEW, MANY):
        drawn.clear()
        compiled(clients)
        assert (drawn.count("batches"), drawn.count("cohort")) == (ROUNDS * COHORT, ROUNDS)


@pytest.mark.parametrize("act", [describe_plan, Evaluator, lambda plan: plan.digest], ids=["tell", "measure", "digest"])
def test_what_is_done_with_a_plan_calls_no_more_for_more_clients(compiled, act):
    act(compiled(FEW))
    few, many = (num_calls(partial(act, compiled(clients))) for clients in (FEW, MANY))
    assert many < few + 200


def test_a_round_calls_no_more_for_more_clients(compiled, tmp_path: Path):
    def rounds(clients: int) -> Callable[[], object]:
        plan, folder = compiled(clients), tmp_path / f"{clients} {len(list(tmp_path.iterdir()))}"
        return lambda: run(plan, "local", folder, workers=1)

    rounds(FEW)()
    few, many = (num_calls(rounds(clients)) for clients in (FEW, MANY))
    assert many < 1.05 * few
