"""`flspec new FILE --from DATA`: a spec for files of one's own, which runs as it is written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from flspec.datasets.csv import CsvTable
from flspec.spec.loading import load_spec
from tests.command_line import flspec

HEADER = "patient;hospital;age;sex;bmi;smoker;visits;note;outcome"


def patients(num: int = 120) -> list[str]:
    draw = random.Random(7)
    rows = []
    for number in range(num):
        bmi = "NA" if draw.random() < 0.2 else f"{draw.gauss(27, 4):.1f}".replace(".", ",")
        ill = draw.random() < 0.4
        cells = [
            f"P{number}", draw.choice(["north", "south", "east"]), str(draw.randint(20, 60) + 20 * ill),
            draw.choice(["female", "male"]), bmi, draw.choice(["yes", "no", ""]), str(draw.randint(0, 1)),
            f"note {number}", "ill" if ill else "healthy",
        ]  # fmt: skip
        rows.append(";".join(cells))
    return rows


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "patients.csv").write_text("\n".join([HEADER, *patients()]) + "\n")
    return tmp_path


def made(folder: Path, *arguments: str) -> str:
    done = flspec(folder, "new", "my.yaml", "--from", *arguments)
    assert done.returncode == 0, done.stderr
    return (folder / "my.yaml").read_text()


def test_a_hospital_s_table_becomes_a_fairness_table_in_three_commands(home):
    made(home, "patients.csv")
    plan = flspec(home, "plan", "my.yaml")
    assert plan.returncode == 0, plan.stderr
    assert "2 classes: healthy, ill" in plan.stdout
    run = flspec(home, "run", "my.yaml", "--out", "run")
    assert run.returncode == 0, run.stderr
    assert "test/sex=female" in run.stdout
    assert "test/sex gap" in run.stdout
    assert json.loads((home / "run" / "result.json").read_text())["status"] == "completed"


def test_each_column_is_there_with_a_reason(home):
    lines = [line.strip() for line in made(home, "patients.csv").splitlines()]
    assert lines[0].startswith("# yaml-language-server")
    assert "# From patients.csv: 120 rows, 9 columns." in lines
    assert any(line.startswith("age: standardise  # numbers about") for line in lines)
    assert "sex: one_hot  # text with 2 values" in lines
    assert any(line.startswith("bmi: [{impute: median}, standardise]  # numbers about 2") for line in lines)
    assert "visits: as_is  # two values, not larger than 1" in lines
    assert "# left out: patient: another value in every row, as an identifier has" in lines
    assert any(line.startswith("# left out: note: text with 120 different values") for line in lines)
    spec = load_spec(home / "my.yaml")
    assert isinstance(spec.dataset, CsvTable)
    assert (spec.dataset.label, spec.dataset.client) == ("outcome", "hospital")
    assert (spec.dataset.separator, spec.dataset.decimal, spec.dataset.missing) == ("semicolon", "comma", ("NA",))
    assert spec.dataset.file == "patients.csv"


def test_what_is_given_is_taken(home):
    given = ["--set", "dataset.label=sex", "--set", "dataset.holdout=0.3", "--set", "evaluation.groups=[hospital]"]
    made(home, "patients.csv", *given, "--partition", "dirichlet", "--rounds", "2")
    spec = load_spec(home / "my.yaml")
    assert isinstance(spec.dataset, CsvTable)
    assert (spec.dataset.label, spec.dataset.holdout, spec.rounds) == ("sex", 0.3, 2)
    assert spec.model_dump()["partition"]["kind"] == "dirichlet"
    assert [group.column for group in spec.evaluation.groups] == ["hospital"]
    assert flspec(home, "plan", "my.yaml").returncode == 0


def test_a_table_elsewhere_is_named_by_its_whole_path(home, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    made(other, str(home / "patients.csv"))
    assert flspec(other, "plan", "my.yaml").returncode == 0
    assert str(home / "patients.csv") in (other / "my.yaml").read_text()


def test_a_parquet_file_runs_as_written(home):
    pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    options = {
        "parse_options": csv.ParseOptions(delimiter=";"),
        "convert_options": csv.ConvertOptions(decimal_point=","),
    }
    parquet.write_table(csv.read_csv(home / "patients.csv", **options), home / "patients.parquet")
    text = made(home, "patients.parquet")
    assert "sex: one_hot  # text with 2 values" in text
    assert "bmi: [{impute: median}, standardise]" in text
    assert flspec(home, "run", "my.yaml", "--out", "run").returncode == 0


def test_folders_run_as_written(tmp_path):
    for kind in ("csv", "npz", "parquet", "image_folder", "leaf"):
        folder = tmp_path / kind / "data"
        folder.parent.mkdir()
        assert (
            flspec(tmp_path, "data", "make", kind, str(folder), "--examples", "120", "--clients", "4").returncode == 0
        )
        done = flspec(folder.parent, "new", "my.yaml", "--from", "data")
        assert done.returncode == 0, (kind, done.stderr)
        assert load_spec(folder.parent / "my.yaml").model_dump()["dataset"]["kind"] == kind
        ran = flspec(folder.parent, "run", "my.yaml", "--set", "rounds=1", "--out", "run")
        assert ran.returncode == 0, (kind, ran.stderr)


def test_many_columns_alike_are_one_line(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 300)).round(3)
    rows = [",".join([*map(str, row), "ab"[number % 2]]) for number, row in enumerate(values)]
    (tmp_path / "genes.csv").write_text("\n".join([",".join([*(f"g{n}" for n in range(300)), "label"]), *rows]))
    assert '"*": standardise  # 300 columns' in made(tmp_path, "genes.csv")
    assert flspec(tmp_path, "plan", "my.yaml").returncode == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty; the first row names the columns"),
        ("a,b\n", "no column looks like labels"),
        ("a,b\n1,2\n3,4,5\n", "cells, but the header names"),
        ("x,label\n,a\n,b\n,a\n", "no column can be a feature: x: no row has a value"),
        ("x,label\n1,a\n2,\n3,b\n", "label '' is empty"),
        ("PAR1", "is a Parquet file"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line_and_nothing_is_written(tmp_path, text, told):
    (tmp_path / "bad.csv").write_text(text)
    done = flspec(
        tmp_path,
        "new",
        "my.yaml",
        "--from",
        "bad.csv",
        "--set",
        *(["dataset.label=label"] if "label" in text else ["seed=1"]),
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "my.yaml").exists()


def test_a_shipped_spec_and_a_name_that_is_neither_are_as_before(tmp_path):
    assert flspec(tmp_path, "new", "my.yaml", "--from", "quickstart").returncode == 0
    done = flspec(tmp_path, "new", "other.yaml", "--from", "quickstrt")
    assert done.returncode == 2
    assert "did you mean 'quickstart'" in done.stderr


def test_a_wrong_setting_is_told(home):
    done = flspec(home, "new", "my.yaml", "--from", "patients.csv", "--set", "dataset.features={age: standardize}")
    assert done.returncode == 2
    assert "dataset.features.age: unknown 'standardize'; did you mean 'standardise'?" in done.stderr


def test_an_unknown_column_is_told(home):
    done = flspec(home, "new", "my.yaml", "--from", "patients.csv", "--set", "dataset.label=outcom")
    assert done.returncode == 2
    assert "did you mean 'outcome'" in done.stderr
