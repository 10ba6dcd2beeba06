"""What is Flower's own: Ray, and clients that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flspec.core.cache import cache_folder
from flspec.errors import FlspecError
from flspec.protocol.backend import Job
from flspec.protocol.plan import ClientTask, Plan
from tests.conformance.harness import Certified, Engines
from tests.conformance.plans import RULES, compile_named

Get = Callable[[str, str], Certified]


@pytest.mark.parametrize("name", ["cnn-momentum-fedavg"])
def test_flower_on_ray_is_bit_identical_to_local(certified: Get, name: str) -> None:
    case = certified(name, "flower")
    assert case.verdict("flower").bitwise
    assert case.result("flower").weights == case.result("local").weights
    assert set(case.result("flower").backend.versions) >= {"flwr", "ray", "torch"}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_updates_gives_the_same_bits_and_tff_hands_it_the_updates(certified: Get, name: str) -> None:
    case = certified(name, "flower:inprocess")
    assert case.verdict("flower:inprocess").bitwise
    records = [state.records.get("aggregator", {}) for state in case.states("flower:inprocess")]
    assert [bool(record) for record in records] == [name == "softmax-sgd-centered"] * len(records)
    if "tff" in case.certificate.backends:
        assert case.verdict("tff").verdict == "equivalent", case.verdict("tff").reason


@pytest.mark.parametrize("backend", ["local", "flower:inprocess", "tff"])
def test_two_runs_have_the_same_bits_whatever_the_number_of_workers(
    engines: Engines, tmp_path: Path, backend: str
) -> None:
    from flspec.runs.runner import execute_plan

    plan = compile_named("cnn-momentum-fedavg", rounds=4)
    results = []
    for number, workers in enumerate((1, 2, 2)):
        (tmp_path / str(number)).mkdir()
        job = Job(tmp_path / str(number), workers=workers)
        results.append(execute_plan(engines(backend), backend, plan, job))
    assert len({result.weights.sha256 for result in results if result.weights}) == 1


def test_a_round_reads_each_task_once_with_the_server_and_once_with_its_client(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A client that read the whole cohort would make a round cost the square of it."""
    from flspec_flower.simulation import run_in_process

    plan, read = compile_named("softmax-sgd-fedavg", rounds=1), []
    one_task = Plan._task

    def counted(plan: Plan, index: int, *where: Any) -> ClientTask:
        read.append(index)
        return one_task(plan, index, *where)

    monkeypatch.setattr(Plan, "_task", counted)
    plan.save(tmp_path / "plan")
    list(run_in_process(plan, Job(tmp_path, workers=1), {}))
    assert len(plan.arrays["task_clients"]) > 2
    assert sorted(read) == sorted(2 * list(range(len(plan.arrays["task_clients"]))))


def test_a_client_that_fails_ends_the_run_with_its_reason(engines: Engines, tmp_path: Path) -> None:
    plan = compile_named("softmax-sgd-fedavg", rounds=3)
    store = cache_folder() / "data" / plan.settings.data.digest
    hidden = store.with_name("hidden")
    store.rename(hidden)
    try:
        with pytest.raises(FlspecError, match=r"a ClientApp could not start: .*the data of this plan are not in"):
            list(engines("flower:inprocess").execute(plan, Job(tmp_path)))
    finally:
        hidden.rename(store)
    assert list(engines("flower:inprocess").execute(plan, Job(tmp_path / "again")))
