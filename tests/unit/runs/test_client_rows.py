"""`clients.csv` says of each client in each round what it trained on, measured and sent, and why it did not count."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flspec.execution.faults import lost_updates
from flspec.execution.rounds import initial_state
from flspec.protocol.plan import Plan
from flspec.runs.event_log import EVENTS
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec_torch.training import Trainer
from tests.unit.runs.stopping import stop_after

MakePlan = Callable[..., Plan]
DROPOUTS = [{"kind": "dropout", "rate": 0.4}]
PRIVATE = {
    "privacy": {"kind": "central", "clip": {"kind": "fixed", "norm": 0.5}, "noise_multiplier": 3.0, "delta": 1e-3},
    "aggregator": {"kind": "fedavg", "weighting": "uniform"},
}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "clients.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_time(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows_of(folder)]


@pytest.fixture(scope="module")
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(rounds=4, faults=DROPOUTS)


@pytest.fixture(scope="module")
def folder(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "run"
    run(plan, out=path)
    return path


def test_there_is_a_row_for_each_task_and_each_client_that_was_kept_from_one(plan: Plan, folder: Path) -> None:
    rows, result = rows_of(folder), load_result(folder)
    expected = [
        (record.round, client)
        for record in result.rounds
        for client in [*record.cohort, *(one.client for one in record.failures if one.client not in record.cohort)]
    ]
    assert [(int(row["round"]), int(row["client"])) for row in rows] == expected
    why = {(record.round, one.client): one.reason for record in result.rounds for one in record.failures}
    assert why
    assert {(int(row["round"]), int(row["client"])): row["dropped"] for row in rows if row["dropped"]} == why
    assert all(int(row["examples"]) == len(plan.client_examples(int(row["client"]))) for row in rows)
    assert result.clients is not None
    assert (result.clients.path, result.clients.missing, result.clients.note) == ("clients.csv", (), None)


def test_what_a_client_measured_and_sent_is_that_of_its_training_alone(plan: Plan, folder: Path) -> None:
    trainer = Trainer(plan)
    lost = lost_updates(plan, 1)
    by_client = {int(row["client"]): row for row in rows_of(folder) if row["round"] == "1"}
    norms = list[float]()
    for place, task in enumerate(plan.cohort(1)):
        row, update = by_client[task.client], trainer.train_from(initial_state(plan), task)
        assert int(row["trained"]) == task.num_trained
        assert float(row["loss"]) == update.sums["loss"] / task.num_trained
        assert float(row["accuracy"]) == update.sums["accuracy"] / task.num_trained
        assert float(row["seconds"]) > 0
        norm = math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in update.delta.values()))
        assert row["update_norm"] == "" if place in lost else float(row["update_norm"]) == pytest.approx(norm)
        norms.append(norm)
    assert max(norms) > 1.01 * min(norms)  # so another client's would be noticed


def test_means_over_a_round_are_the_rounds(folder: Path) -> None:
    for record in load_result(folder).rounds:
        own = [row for row in rows_of(folder) if int(row["round"]) == record.round and not row["dropped"]]
        total = sum(int(row["trained"]) for row in own)
        mean = sum(int(row["trained"]) * float(row["loss"]) for row in own) / total
        assert mean == pytest.approx(record.train["loss"], rel=1e-12)


def test_the_table_of_a_resumed_run_and_of_flower_is_the_same(plan: Plan, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "parts", watch=stop_after(2))
    run(plan, out=tmp_path / "parts", resume=True)
    assert without_time(tmp_path / "parts") == without_time(folder)
    run(plan, "flower:inprocess", tmp_path / "flower")
    assert without_time(tmp_path / "flower") == without_time(folder)


def test_a_private_run_tells_nothing_of_a_client_unless_asked(make_plan: MakePlan, tmp_path: Path) -> None:
    result = run(make_plan(**PRIVATE), out=tmp_path / "quiet")
    assert not (tmp_path / "quiet" / "clients.csv").exists()
    assert '"clients":{}' in (tmp_path / "quiet" / EVENTS).read_text()
    assert '"update_norm"' not in (tmp_path / "quiet" / EVENTS).read_text()
    assert result.clients is not None
    assert "no epsilon covers" in str(result.clients.note)
    asked = make_plan(**PRIVATE, client_rows=True)
    assert asked.digest == make_plan(**PRIVATE).digest
    result = run(asked, out=tmp_path / "asked")
    assert len(rows_of(tmp_path / "asked")) == 9
    assert result.clients is not None
    assert "learns of single clients" in str(result.clients.note)
    assert result.privacy is not None
    assert [what for what in result.privacy.not_covered if "clients.csv" in what]


def test_a_run_writes_none_if_its_spec_says_so(make_plan: MakePlan, tmp_path: Path) -> None:
    result = run(make_plan(client_rows=False), out=tmp_path / "run")
    assert not (tmp_path / "run" / "clients.csv").exists()
    assert result.clients is not None
    assert result.clients.note == "client_rows is false"
    assert '"update_norm"' not in (tmp_path / "run" / EVENTS).read_text()
