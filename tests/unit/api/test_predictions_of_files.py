"""Predictions of files are those that the run's own evaluation measured, and say what they could not read."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flspec as library
from flspec.core.randomness import Stream
from flspec.data.store import open_data
from flspec.data.synthetic.twins import TwinSize
from flspec.datasets.image_folder import ImageFolder
from flspec.runs.result import load_result
from tests.command_line import flspec

BASE: dict[str, Any] = {
    "flspec": 1,
    "name": "files",
    "rounds": 1,
    "partition": {"kind": "iid", "clients": 2},
    "model": {"kind": "softmax_regression"},
    "client": {"steps": 8, "batch_size": 16, "optimizer": {"kind": "sgd", "learning_rate": 0.5}},
}
ENCODED = {"age": "standardise", "ward": "one_hot"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on an encoded table, on a table of plain numbers, and on pictures, beside their files."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, num in (("train", 80), ("test", 40)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file, delimiter=";")
            table.writerow(["age", "height", "ward", "outcome"])
            for age in rng.integers(20, 90, num).tolist():
                is_ill = age + rng.normal(0, 10) > 55
                table.writerow(
                    [age, f"{rng.uniform(1.5, 2):.2f}", rng.choice(["01", "1", "a;b"]), ["well", "ill"][is_ill]]
                )
    (folder / "pictures").mkdir()
    ImageFolder.write_twin(folder / "pictures", TwinSize(clients=4, examples=40), Stream(0))
    tables = {"kind": "csv", "file": "train.csv", "test_file": "test.csv", "separator": "semicolon", "label": "outcome"}
    datasets = {
        "encoded": {**tables, "features": ENCODED},
        "plain": {**tables, "features": ["height", "age"]},
        "seen": {"kind": "image_folder", "folder": "pictures", "size": 8, "fit": "stretch", "colour": "grey"},
    }
    for name, dataset in datasets.items():
        library.run(library.load_spec(BASE | {"dataset": dataset}), out=folder / name, data=folder, workers=1)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("run", "path", "key"),
    [("encoded", "test.csv", "row"), ("plain", "test.csv", "row"), ("seen", "pictures/test", "file")],
)
def test_predictions_of_the_test_set_are_those_that_were_measured(folder: Path, run: str, path: str, key: str) -> None:
    done = flspec(folder, "predict", run, path, "--out", f"{run}.csv")
    assert (done.returncode, done.stderr) == (0, "")
    rows, model = rows_of(folder / f"{run}.csv"), library.load_model(folder / run)
    data = open_data(model.plan.settings.data)
    assert done.stdout == f"written to {run}.csv: {len(rows):,} predictions of the model after round 1\n"
    assert list(rows[0]) == [key, "predicted", *(f"p({name})" for name in model.classes)]
    found = np.array([[float(row[f"p({name})"]) for name in model.classes] for row in rows])
    due = model.probabilities(np.asarray(data.test.features), encoded=True)
    assert np.array_equal(found, due)  # to the last bit, and in the file's order
    assert not np.array_equal(found, due[::-1])
    names = np.array([row["predicted"] for row in rows])
    accuracy = np.mean(names == np.array(model.classes)[np.asarray(data.test.labels)])
    final = load_result(folder / run).final
    assert final
    assert accuracy == pytest.approx(final.evaluation["test"]["accuracy"], abs=1e-12)
    assert [row[key] for row in rows[:2]] == (["1", "2"] if key == "row" else sorted(row[key] for row in rows)[:2])


def test_rows_are_numbered_through_however_many_go_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flspec.api.predictions._ROWS_AT_ONCE", 7)
    assert flspec(folder, "predict", "encoded", "test.csv", "--out", "by_seven.csv").returncode == 0
    assert flspec(folder, "predict", "encoded", "test.csv", "--out", "again.csv").returncode == 0
    assert [row["row"] for row in rows_of(folder / "by_seven.csv")] == [str(number) for number in range(1, 41)]
    assert [row["predicted"] for row in rows_of(folder / "by_seven.csv")] == [
        row["predicted"] for row in rows_of(folder / "again.csv")
    ]
    (folder / "late.csv").write_text("ward;age\n" + "1;40\n" * 9 + "1;old\n")
    done = flspec(folder, "predict", "encoded", "late.csv", "--out", "none.csv")
    assert "late.csv: row 10, column 'age': 'old' is no number; give a number, or an empty cell" in done.stderr
    assert not (folder / "none.csv").exists()


@pytest.mark.parametrize(
    ("run", "content", "told"),
    [
        ("encoded", "age;outcome\n40;ill\n", "table.csv: there is no column 'ward'; "),
        ("encoded", "age;ward\n40\n", "table.csv:2: 1 cells, but the header has 2"),
        ("encoded", "age;ward\n", "table.csv: no rows below its header"),
        ("plain", "height;age\n1.5;x\n", "table.csv"),
        ("seen", "a;b\n1;2\n", "table.csv: image_folder has no tables"),
    ],
)
def test_what_a_table_lacks_is_told_and_nothing_is_written(folder: Path, run: str, content: str, told: str) -> None:
    (folder / "table.csv").write_text(content)
    done = flspec(folder, "predict", run, "table.csv", "--out", "none.csv")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert told in done.stderr
    assert not list(folder.glob("*none.csv*"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["seen", "damaged"], "damaged/cat.png is no picture in a format that is read"),
        (["seen", "empty"], "empty: no pictures in it; name a folder that has some"),
        (["seen", "absent"], "absent does not exist; name a folder of pictures, or a table"),
        (["encoded", "pictures"], "csv has no pictures of 0 to 255; name a table"),
        (["absent", "test.csv"], "absent: no readable result.json"),
        (["encoded", "test.csv", "--round", "0"], "--round: '0' is no round"),
        (["encoded", "test.csv", "--client", "x"], "--client: all clients of this run have one model; leave it out"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(folder: Path, arguments: list[str], told: str) -> None:
    for name in ("damaged", "empty"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    (folder / "damaged" / "cat.png").write_bytes(b"no picture")
    done = flspec(folder, "predict", *arguments, "--out", "none.csv")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert told in done.stderr
    assert not (folder / "none.csv").exists()
