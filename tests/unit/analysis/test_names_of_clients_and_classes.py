"""Clients and classes that have names keep them: in plans, pictures, remarks, reasons and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flspec.analysis.description import describe_plan, partition_counts
from flspec.cli.explanation_tables import partition_picture
from flspec.compiler.compile import compile
from flspec.errors import InputError
from flspec.report.partition_chart import draw_partition
from flspec.spec.loading import load_spec
from tests.command_line import flspec

SPEC = """\
flspec: 1
name: named
rounds: 1
dataset: {kind: csv, file: patients.csv, label: outcome, client: hospital, holdout: 0.2}
partition: {kind: natural}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 4, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {metrics: [loss, recall]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three hospitals; the one in the east has healthy patients alone."""
    rows = [
        f"{('north', 'south', 'east')[n % 3]},{n % 5},{n % 7},{'healthy' if n % 3 == 2 or n % 2 else 'ill'}"
        for n in range(90)
    ]
    (tmp_path / "patients.csv").write_text("\n".join(["hospital,x,y,outcome", *rows]))
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def test_a_plan_and_its_pictures_name_clients_and_classes(home):
    plan = compile(load_spec(home / "spec.yaml"), home)
    description, counts = describe_plan(plan), partition_counts(plan)
    assert counts is not None
    names, labels = description.clients.names, description.data.label_names
    assert names == ("north", "south", "east")
    picture = str(partition_picture(counts, names, labels))
    assert picture.splitlines()[3].startswith("  east  ")
    assert "labels: 0 healthy, 1 ill" in picture
    drawn = draw_partition(counts, "named", clients=names, labels=labels)
    assert all(f">{name}</text>" in drawn for name in (*names, *labels))
    assert "3: north, south, east; each holding" in flspec(home, "plan", "spec.yaml").stdout


def test_what_is_undefined_names_the_client_and_the_class(home):
    assert flspec(home, "run", "spec.yaml", "--out", "run", "--set", "partition.holdout=0.3").returncode == 0
    told = (home / "run" / "result.json").read_text()
    assert "1 of 3 clients have no value; client east: no example is of class ill" in told


def test_a_client_without_a_holdout_is_named(home):
    lines = (home / "patients.csv").read_text().splitlines()
    (home / "patients.csv").write_text("\n".join([*lines, "west,1,1,ill"]))
    with pytest.raises(InputError, match="but client west has 1 examples"):
        compile(load_spec(home / "spec.yaml", ["partition.holdout=0.3", "dataset.split_seed=1"]), home)


@pytest.mark.parametrize(
    "setting",
    ["partition={kind: iid, clients: 3}", "mode=centralized", "partition={kind: dirichlet, clients: 3, alpha: 5}"],
)
def test_clients_that_are_none_by_nature_have_numbers(home, setting):
    plan = compile(load_spec(home / "spec.yaml", [setting]), home)
    assert describe_plan(plan).clients.names == ()
    assert json.loads(flspec(home, "plan", "spec.yaml", "--json", "--set", setting).stdout)["clients"]["names"] == []
