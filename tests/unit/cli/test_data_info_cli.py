"""`flspec data info`: what it shows of a file's columns, and of what a folder's data set takes and leaves out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flspec.core.components import parse_component
from flspec.core.randomness import Stream
from flspec.datasets import Dataset
from flspec.spec.yaml_reader import read_value
from tests.command_line import flspec


def make(told, kind, folder):
    told("data", "make", kind, folder, "--examples", "300", "--clients", "5")


PATIENTS = """id,ward,age,height,sex,note,admitted,outcome
00001,01,71,1.70,0,"fell, twice",2024-01-01,yes
00002,1,,1.62,1,,2024-01-02,no
00003,E1,64,1.81,1,ok,,no
"""


def facts(told, file, *settings):
    """What is told of a file as JSON, by column, and the whole."""
    options = [part for setting in settings for part in ("--set", setting)]
    found = json.loads(told("data", "info", file, *options, "--json")[0])
    return {column["name"]: column for column in found["columns"]}, found


def test_each_column_of_a_table_is_told_with_what_it_is_taken_as_and_why(told, tmp_path):
    (tmp_path / "patients.csv").write_text(PATIENTS)
    settings = ("label=outcome", "client=ward", "features=[age, height, sex]", "columns=[sex, admitted]")
    columns, found = facts(told, tmp_path / "patients.csv", *settings)
    assert {name: (column["role"], column["holds"]) for name, column in columns.items()} == {
        "id": ("left out", "numbers"),
        "ward": ("client", "text"),
        "age": ("feature", "numbers"),
        "height": ("feature", "numbers"),
        "sex": ("feature and column", "whole numbers"),
        "note": ("left out", "text"),
        "admitted": ("column", "text"),
        "outcome": ("label", "text"),
    }
    assert {name: column["missing"] for name, column in columns.items() if column["missing"]} == {
        "age": 1,
        "note": 1,
        "admitted": 1,
    }
    assert columns["ward"]["why"] == "'01' would be written back as '1'"
    assert columns["age"]["why"] == "row 2 is empty"
    assert columns["id"]["why"] == "not in dataset.features"
    assert (found["num_rows"], found["classes"]) == (3, ["no", "yes"])
    (problem,) = found["problems"]
    assert "age" in problem
    assert "features: [height, sex]" in problem


def test_a_table_that_nothing_is_known_of_shows_what_to_say(told, tmp_path):
    (tmp_path / "patients.csv").write_text(PATIENTS)
    shown, code = told("data", "info", tmp_path / "patients.csv")
    assert code == 0
    assert max(map(len, shown.splitlines()[1:])) <= 80
    assert "no column is called 'label'; say which one holds the labels" in shown
    assert "features: [id, height, sex]" in " ".join(shown.split())
    assert "row 1: 'fell, twice' is no number" in shown


def test_what_stands_below_a_sound_table_is_a_section_that_reads_it(told, tmp_path):
    (tmp_path / "half.csv").write_text("label;x;ward\n" + "no;1;01\nyes;2;1\n" * 10)
    shown, _ = told("data", "info", tmp_path / "half.csv", "--set", "client=ward")
    (line,) = [line for line in shown.splitlines() if line.startswith("  dataset: ")]
    dataset = parse_component(Dataset, read_value(line.removeprefix("  dataset: "), "spec"))
    data = dataset.load(tmp_path / "elsewhere", Stream(0))
    assert (data.label_names, data.train.columns["ward"].tolist()[:2]) == (("no", "yes"), ["01", "1"])


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("npz", "data.npz"),
        ("leaf", "train/all_data_train.json"),
        ("csv", "train.csv"),
        ("parquet", "data/train-00000-of-00001.parquet"),
    ],
)
def test_a_file_s_kind_is_known_by_its_ending(told, kind, file, tmp_path):
    make(told, kind, tmp_path / "twin")
    columns, found = facts(told, tmp_path / "twin" / file)
    assert found["kind"] == kind
    assert {column["role"] for column in columns.values()} == {"feature", "label", "client"}
    assert found["problems"] == []
    assert all(column["missing"] == 0 for column in columns.values())
    shown, _ = told("data", "info", tmp_path / "twin" / file)
    assert f"read as {kind}" in " ".join(shown.split())


def test_what_parquet_holds_beside_numbers_and_text_is_told(told, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({
        "label": ["a", "b", "a"], "x": [1.0, None, float("nan")], "when": pa.array([1, 2, None], pa.date32()),
        "__index_level_0__": [2, 0, 1], "kept": pa.array([1, None, 2]), "list": [[1.0], [2.0], [3.0]],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    columns, _ = facts(told, tmp_path / "a.parquet", "columns=[kept]")
    assert [(columns[name]["role"], columns[name]["missing"]) for name in columns] == [
        ("label", 0), ("feature", 2), ("left out", 1), ("left out", 0), ("column", 1), ("feature", 0),
    ]  # fmt: skip
    assert columns["when"]["why"] == "holds dates or times"
    assert columns["__index_level_0__"]["why"] == "is an index of pandas"
    assert columns["list"]["holds"] == "lists of numbers"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", "its ending is none of .csv, .tsv"),
        ("a.csv.gz", b"\x1f\x8b\x08", "is compressed with gzip; decompress it"),
        ("a.csv", b"PK\x03\x04", "is an Excel workbook or a zip archive"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"a,a\n1,2\n", "names 'a' twice"),
        ("a.csv", b"a,b\n1\n", "a.csv:2: row 1: 1 cells"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.npz", b"", "cannot be read as .npz"),
        ("a.json", b"{}", "it should be a mapping with users"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    done = flspec(tmp_path, "data", "info", name)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert message in done.stderr


def test_control_characters_in_names_do_not_reach_a_terminal(told, tmp_path):
    (tmp_path / "a.csv").write_text("label,\x1b[31mx,[red]y\n\x1b]0;title\x07,1,2\n")
    shown, _ = told("data", "info", tmp_path / "a.csv")
    assert "\x1b" not in shown
    assert "[red]y" in shown


# ----------------------------------------------------------------------------------------------------------- folders


def test_columns_and_files_that_are_left_out_are_told(told, tmp_path):
    text = "label,x,Unnamed: 0,client\n0,1,0,a\n1,2,1,b\n"
    for name in ("train", "test", "valid"):
        (tmp_path / f"{name}.csv").write_text(text)
    shown, _ = told("data", "info", tmp_path, "--kind", "csv")
    assert "left out: Unnamed: 0 (is an index of pandas, which numbers the rows)" in shown
    assert "files left out: 1 .csv" in shown
    assert "feature: x" in shown


def test_arrays_that_are_left_out_are_told(told, tmp_path):
    x, y = np.zeros((4, 2)), np.array([1, 2, 1, 2])
    ward = np.array(["01", "1", "02", "2"])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y, note=y, ward_train=ward, ward_test=ward)
    shown, _ = told("data", "info", tmp_path, "--kind", "npz")
    assert "feature: x_train" in shown
    assert "column: ward_train (text)" in shown
    assert "left out: note (its name does not end in _train, _test or _validation)" in shown


def test_pictures_of_other_formats_are_counted(told, tmp_path):
    make(told, "image_folder", tmp_path / "twin")
    for name in ("a.heic", "b.HEIC", "Thumbs.db", ".hidden"):
        (tmp_path / "twin" / "train" / "ring" / name).touch()
    shown, _ = told("data", "info", tmp_path / "twin", "--kind", "image_folder", "--set", "size=8")
    assert "files left out: 1 .db, 2 .heic, 1 .hidden" in shown


def test_a_label_that_no_test_example_has_is_told(told, tmp_path):
    (tmp_path / "train.csv").write_text("label,x\na,1\nb,2\nc,3\n")
    (tmp_path / "test.csv").write_text("label,x\na,1\n")
    shown, _ = told("data", "info", tmp_path, "--kind", "csv")
    assert "no test example has: b, c" in shown
