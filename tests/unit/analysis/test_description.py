"""What a plan is said to do, against what it does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.analysis.description import describe_plan, partition_counts
from flspec.analysis.memory_estimate import estimate_memory
from flspec.compiler.compile import compile
from flspec.datasets.csv import CsvTable
from flspec.errors import InputError
from flspec.protocol.backend import Backend, Rehearsal
from flspec.protocol.registry import find_backend

SGD = {"kind": "sgd", "learning_rate": 0.1}
QUICKSTART = Path(__file__).parents[3] / "specs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def small(make_plan):
    return make_plan()


def test_the_facts_of_the_smallest_plan(small):
    facts = describe_plan(small)
    assert facts.data.model_dump(exclude_defaults=True) == {
        "num_train": 60,
        "num_test": 20,
        "num_classes": 3,
        "shape": (4,),
    }
    assert facts.clients.model_dump() == {
        "num": 5, "min_examples": 12, "median_examples": 12.0, "max_examples": 12, "num_unheld": 0,
        "names": (),
    }  # fmt: skip
    # 3 rounds of 3 clients, whose 12 examples are 3 batches of 5, 5 and 2.
    assert facts.rounds.model_dump() == {
        "num": 3, "min_cohort": 3, "max_cohort": 3, "min_steps": 3, "max_steps": 3, "total_steps": 27,
        "remarks": (),
    }  # fmt: skip
    # 4 × 6 + 6 and 6 × 3 + 3 parameters, each used once.
    assert facts.model.model_dump() == {
        "num_parameters": 51, "num_tensors": 4, "num_constants": 0, "num_local": 0, "multiply_adds": 51,
        "networks": (), "phases": (), "remarks": (),
    }  # fmt: skip


def test_what_schedules_come_to_is_told_also_where_they_are_longer_than_the_run(make_plan):
    longer = {"kind": "fedavg", "schedule": {"kind": "warmup", "rounds": 30, "final": 0.2}}
    step = {"kind": "sgd", "learning_rate": 0.1, "schedule": {"kind": "step", "every": 1, "decay": 0.5}}
    client = {"epochs": 1, "batch_size": 5, "optimizer": step}
    assert describe_plan(make_plan(aggregator=longer, client=client)).rounds.remarks == (
        "the client's learning rate is multiplied by 1 in the first round and 0.25 in the last, 1 at most",
        "the server's learning rate is multiplied by 0 in the first round and 0.0667 in the last, 0.0667 at most",
    )


PICTURES = {"dataset": {"kind": "digits"}, "client": {"steps": 1, "batch_size": 4, "optimizer": SGD}, "rounds": 1}


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"kind": "mobilenet_v2"}, ["random initial values", "normalises nothing"]),
        ({"kind": "mobilenet_v2", "train": "all", "batch_norm": "frozen"}, ["normalises nothing"]),
        ({"kind": "mobilenet_v2", "train": "all", "batch_norm": "averaged"}, []),
        ({"kind": "mlp", "hidden": [4]}, []),
    ],
)
def test_a_model_that_is_frozen_as_it_was_drawn_is_told(make_plan, model, told):
    remarks = describe_plan(make_plan(model=model, **PICTURES)).model.remarks
    assert len(remarks) == len(told)
    assert all(words in remark for words, remark in zip(told, remarks, strict=True))


def test_a_model_whose_frozen_parts_come_from_a_file_has_no_remark(make_plan):
    plan = make_plan(model={"kind": "mobilenet_v2"}, **PICTURES)
    from_file = {**plan.spec, "model": {**plan.spec["model"], "pretrained": "weights.pth"}}
    assert describe_plan(dataclasses.replace(plan, spec=from_file)).model.remarks == ()


def test_bytes_are_of_float32_each_way_and_each_time(small):
    facts = describe_plan(small)
    busiest = int(np.bincount(small.arrays["task_clients"]).max())
    assert facts.bytes_down == facts.bytes_up
    assert facts.bytes_down.model_dump() == {"each_time": 204, "busiest_client": 204 * busiest, "total": 204 * 9}


def test_examples_that_nobody_holds_are_counted(make_plan):
    plan = make_plan(partition={"kind": "by_label", "clients": 3, "examples_per_client": 4}, cohort={"kind": "all"})
    facts = describe_plan(plan)
    assert facts.clients.num_unheld == 60 - 12
    assert facts.skew
    assert facts.skew.label_entropy.max == 0.0
    assert facts.skew.emd.mean == pytest.approx(4 / 3)
    counts = partition_counts(plan)
    assert counts is not None
    assert counts.tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]


def test_the_span_of_steps_is_of_clients_that_differ():
    facts = describe_plan(compile(QUICKSTART))
    assert facts.rounds.min_steps < facts.rounds.max_steps
    assert facts.clients.min_examples < facts.clients.median_examples < facts.clients.max_examples
    assert facts.skew
    assert facts.skew.size_gini > 0.1


def test_what_stands_in_a_backend_s_way_is_named(small, monkeypatch):
    assert describe_plan(small).backends["local"] == ()
    monkeypatch.setattr(type(find_backend("local")), "unsupported", lambda self, plan: ["aggregator: no"])
    assert describe_plan(small).backends["local"] == ("aggregator: no",)


def test_without_its_data_a_plan_is_described_but_for_its_skew(small, monkeypatch, tmp_path):
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path))
    facts = describe_plan(small, rehearse=True)
    assert facts.skew is None
    assert facts.estimates.time == {}
    assert facts.clients.num == 5


# ------------------------------------------------------------------------------------------------------------ memory


def test_memory_grows_by_an_update_a_client(make_plan):
    model = {"kind": "mlp", "hidden": [100_000]}  # 800,003 parameters
    more = {"partition": {"kind": "iid", "clients": 9}, "model": model}
    one, five, nine = (estimate_memory(make_plan(**more, cohort=sized(size)), workers=1) for size in (1, 5, 9))
    assert five - one == pytest.approx(4 * 4 * 800_003, abs=2**20)
    assert nine - five < 2**20  # a mean adds updates as they come, and four may come before their turn
    median = {"aggregator": {"kind": "median"}}
    five, nine = (estimate_memory(make_plan(**more, **median, cohort=sized(size)), workers=1) for size in (5, 9))
    assert nine - five == pytest.approx(4 * 4 * 800_003, abs=2**20)


def test_memory_grows_by_the_server_optimizer_s_slots(make_plan):
    model = {"kind": "mlp", "hidden": [100_000]}
    plain, adam = (
        estimate_memory(make_plan(model=model, aggregator=aggregator), workers=1)
        for aggregator in ({"kind": "fedavg"}, {"kind": "fedadam", "learning_rate": 0.1})
    )
    # Two slots before and after the step, in float32: in float64 are pieces of them alone.
    assert adam - plain == pytest.approx(2 * 2 * 4 * 800_003, abs=2**20)


def test_memory_is_about_what_a_run_takes(tmp_path):
    """Factor 2: the true peak depends on the system's allocator and torch's build."""
    done = subprocess.run(
        [sys.executable, "-m", "flspec", "run", str(QUICKSTART), "--backend", "local", "--out", "run", "--json"],
        cwd=tmp_path, env=os.environ.copy(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    measured = json.loads(done.stdout)["memory"]["peak_bytes"]
    assert 0.5 < estimate_memory(compile(QUICKSTART)) / measured < 2


def sized(size):
    return {"kind": "uniform", "size": size}


# -------------------------------------------------------------------------------------------------------------- time


def test_only_a_backend_that_can_tell_is_asked_how_long_it_takes(small):
    assert describe_plan(small).estimates.time == {}
    times = describe_plan(small, rehearse=True).estimates.time
    assert list(times) == ["local"]
    assert times["local"].seconds == pytest.approx(3 * times["local"].seconds_a_round)
    assert times["local"].num_steps_measured >= 2


def test_a_backend_that_does_not_say_cannot_tell(small):
    assert Backend.rehearse(find_backend("local"), small) is None


def test_a_rehearsal_is_scaled_by_the_steps_of_the_plan(make_plan, monkeypatch):
    from flspec_local import rehearsal

    monkeypatch.setattr(rehearsal, "_train", lambda plan, tasks: (0.5, 7, []))
    monkeypatch.setattr(rehearsal, "_aggregate", lambda plan, updates: 0.25)
    monkeypatch.setattr(rehearsal, "_evaluate", lambda plan, num: 0.125)
    plan = make_plan(cohort=sized(3))  # of 3 steps each
    assert rehearsal.rehearse(plan, workers=1) == Rehearsal(9 * 0.5 + 0.375, 7)
    assert rehearsal.rehearse(plan, workers=2) == Rehearsal(6 * 0.5 + 0.375, 7)
    assert rehearsal.rehearse(plan, workers=3) == Rehearsal(3 * 0.5 + 0.375, 7)


def test_a_step_too_large_to_try_is_tried_on_fewer_examples(make_plan, monkeypatch):
    from flspec_local import rehearsal

    tried: Any = []
    monkeypatch.setattr(rehearsal, "_train", lambda plan, tasks: tried.extend(tasks) or (0.5, 1, []))
    monkeypatch.setattr(rehearsal, "_aggregate", lambda plan, updates: 0.0)
    monkeypatch.setattr(rehearsal, "_evaluate", lambda plan, num: 0.0)
    plan = make_plan()
    monkeypatch.setattr(rehearsal, "_MOST_WORK", 2 * 51)  # two examples of the five of a batch
    rehearsed = rehearsal.rehearse(plan, workers=1)
    assert rehearsed
    assert rehearsed.seconds_a_round == pytest.approx(9 * 0.5 * 5 / 2)
    assert {len(batch) for task in tried for batch in task.batches} == {2}
    monkeypatch.setattr(rehearsal, "_MOST_WORK", 50)
    assert rehearsal.rehearse(plan, workers=1) is None


def test_a_backend_that_cannot_be_loaded_is_said_so(small, monkeypatch):
    import flspec.analysis.description

    def refuse(name):
        raise InputError(f"backend: {name} is broken")

    monkeypatch.setattr(flspec.analysis.description, "find_backend", refuse)
    assert describe_plan(small).backends["local"] == ("backend: local is broken",)


# ------------------------------------------------------------------------------------------------------- what was read


@pytest.fixture
def table_plan(make_plan, tmp_path):
    """A plan of a table with a label `y`, split into train.csv and test.csv."""

    def of(train, test, **dataset):
        for name, text in (("train", train), ("test", test)):
            (tmp_path / f"{name}.csv").write_text(text)
        sections = {"partition": {"kind": "iid", "clients": 1}, "model": {"kind": "softmax_regression"}}
        return make_plan(tmp_path, dataset={"kind": "csv", "label": "y"} | dataset, cohort={"kind": "all"}, **sections)

    return of


def test_a_plan_says_which_columns_it_takes_as_what_and_which_it_leaves_out(table_plan, tmp_path):
    table = "y,a,b,ward,id,Unnamed: 0\nill,1,2,01,7,0\nwell,3,4,1,8,1\n"
    plan = table_plan(table, table, client="ward", features=["a", "b"], columns=["b"])
    reading = describe_plan(plan, data_root=tmp_path).data.reading
    assert reading is not None
    assert [(column.name, column.role, column.holds) for column in reading.columns] == [
        ("y", "label", ""),
        ("a", "feature", ""),
        ("b", "feature and column", "whole numbers"),
        ("ward", "client", "text"),
        ("id", "left out", ""),
        ("Unnamed: 0", "left out", ""),
    ]
    assert [column.why for column in reading.columns[-2:]] == ["not in dataset.features"] * 2
    assert describe_plan(plan).data.reading is None
    (tmp_path / "train.csv").unlink()
    assert describe_plan(plan, data_root=tmp_path).data.reading is None


def test_a_label_without_a_test_example_is_a_remark(table_plan):
    train = "y,x\n1,1\n2,2\n5000,3\n"
    plan = table_plan(train, "y,x\n1,1\n5000,1\n")
    assert plan.settings.data.num_classes == 3
    assert plan.settings.data.label_names == ("1", "2", "5000")
    assert describe_plan(plan).data.untested == ("2",)
    assert describe_plan(table_plan(train, train)).data.untested == ()


def test_reading_a_table_counts_in_the_memory_of_its_plan(table_plan, monkeypatch):
    rows = "".join(f"{number % 2}," + ",".join("1" * 5_000) + "\n" for number in range(200))
    header = "y," + ",".join(f"x{number}" for number in range(5_000)) + "\n"
    plan = table_plan(header + rows, header + rows[: len(rows) // 100])
    usual = estimate_memory(plan, workers=1)
    monkeypatch.setattr(CsvTable, "copies_while_read", 100.0)
    assert estimate_memory(plan, workers=1) > usual + 300 * 2**20
