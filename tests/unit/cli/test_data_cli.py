"""`flspec data`: what it makes, finds and counts, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flspec.compiler.compile import compile
from flspec.core.components import family_members
from flspec.datasets import Dataset
from flspec.datasets.csv import CsvTable
from flspec.errors import InputError
from flspec.spec.loading import parse_spec
from tests.command_line import flspec

KINDS = ("cifar10", "csv", "fashion_mnist", "leaf", "mnist", "npz", "parquet", "sent140", "shakespeare")
NATURAL = ("csv", "leaf", "npz", "parquet", "sent140", "shakespeare")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def make(told, kind, folder, *more):
    return told("data", "make", kind, folder, "--examples", "300", "--clients", "5", *more)


# --------------------------------------------------------------------------------------------------------- make, info


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_is_counted(told, kind, tmp_path):
    folder = tmp_path / "a" / "twin"
    made = json.loads(make(told, kind, folder, "--json")[0])
    assert made["files"] == sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    shown, code = told("data", "info", folder, "--kind", kind)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads(told("data", "info", folder, "--kind", kind, "--json")[0])
    assert found["kind"] == kind
    assert sum(found["examples"].values()) == 300
    assert {split: sum(counts) for split, counts in found["labels"].items()} == found["examples"]
    assert all(len(counts) == found["num_classes"] for counts in found["labels"].values())
    assert found["digest"] in shown
    if kind in NATURAL:
        assert found["columns"] == {"client": 5}
        assert found["clients"]["num"] == 5
        assert (
            found["clients"]["min_examples"] <= found["clients"]["median_examples"] < found["clients"]["max_examples"]
        )
        assert "clients: 5 by column client, with " in shown
    else:
        assert found["clients"] is None
        assert "clients: none by nature" in shown


def test_the_same_seed_makes_the_same_and_another_another(told, tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(told, "csv", tmp_path / name, "--seed", seed)
        digests.append(json.loads(told("data", "info", tmp_path / name, "--kind", "csv", "--json")[0])["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_is_that_of_a_plan_whatever_its_seed(told, tmp_path):
    make(told, "csv", tmp_path / "twin")
    info = ("data", "info", tmp_path / "twin", "--kind", "csv", "--set", "file=train.csv", "--set", "holdout=0.3")
    spec = """
flspec: 1
name: twin
seed: 7
rounds: 1
dataset: {kind: csv, file: train.csv, holdout: 0.3}
partition: {kind: iid, clients: 2}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
    plan = compile(parse_spec(spec), tmp_path / "twin")
    found, same = (json.loads(told(*info, "--seed", seed, "--json")[0])["digest"] for seed in (7, 8))
    other = json.loads(told(*info, "--set", "split_seed=1", "--json")[0])["digest"]
    assert found == same == plan.settings.data.digest != other


def test_many_labels_are_shown_in_part(told, tmp_path):
    rows = "".join(f"{number},{number % 40}\n" for number in range(80))
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("[red]x,label\n" + rows)
    shown, _ = told("data", "info", tmp_path, "--kind", "csv")
    assert "label 19" in shown
    assert "label 20" not in shown
    assert "and 20 more labels; --json has all" in shown


def test_a_folder_that_is_not_empty_is_left_alone(told, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        make(told, "csv", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled_and_readable_as_others_are(told, tmp_path):
    (tmp_path / "twin").mkdir()
    (tmp_path / "plain").mkdir()
    make(told, "csv", tmp_path / "twin")
    assert (tmp_path / "twin").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "twin"]


def test_a_twin_that_fails_half_way_leaves_nothing(told, tmp_path, monkeypatch):
    def half(folder, size, stream):
        (folder / "train.csv").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvTable, "write_twin", half)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        make(told, "csv", tmp_path / "twin")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------------------------------- check


def test_findings_are_a_line_each_and_exit_with_1(tmp_path):
    assert flspec(tmp_path, "data", "make", "mnist", "twin", "--examples", "70").returncode == 0
    done = flspec(tmp_path, "data", "check", "twin", "--kind", "mnist")
    expected = ["train: 60 examples, 60,000 were published", "test: 10 examples, 10,000 were published"]
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (1, expected, "")
    as_json = flspec(tmp_path, "data", "check", "twin", "--kind", "mnist", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["findings"]) == (1, expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("csv", "240 + 60 examples"),
        ("npz", "240 + 60 examples"),
        ("parquet", "240 + 60 examples"),
        ("image_folder", "240 + 60 pictures"),
    ],
)
def test_a_folder_of_ones_own_is_told_to_be_readable_with_its_counts(told, kind, expected, tmp_path):
    make(told, kind, tmp_path / "twin")
    shown, code = told("data", "check", tmp_path / "twin", "--kind", kind)
    assert code == 0
    assert shown.startswith(f"readable: {expected}")


def test_a_complete_download_is_told_to_be(told, tmp_path, mnist_root):
    shown, code = told("data", "check", mnist_root / "mnist", "--kind", "mnist")
    assert (shown, code) == ("complete: 60,000 + 10,000 pictures\n", 0)


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("fashion_mnist", "60,000 + 10,000 pictures"),
        ("cifar10", "50,000 + 10,000 pictures"),
        ("celeba", "162,770 + 19,867 + 19,962 pictures of 10,177 people"),
        ("flair", "345,879 + 39,239 + 43,960 pictures"),
        ("isic", "37,648 pictures"),
    ],
)
def test_a_complete_download_has_as_many_pictures_as_were_published(told, kind, counts, tmp_path, monkeypatch):
    dataset = family_members(Dataset)[kind]
    monkeypatch.setattr(dataset, "findings", lambda *_: ())
    assert told("data", "check", tmp_path, "--kind", kind) == (f"complete: {counts}\n", 0)


def test_nothing_found_exits_with_0(told, tmp_path):
    make(told, "leaf", tmp_path / "twin")
    assert told("data", "check", tmp_path / "twin", "--kind", "leaf")[1] == 0
    (tmp_path / "twin" / "train" / "all_data_train.json").write_text("{}")
    shown, code = told("data", "check", tmp_path / "twin", "--kind", "leaf")
    assert (shown.count("\n"), code) == (1, 1)
    assert "it should be a mapping with users, num_samples and user_data" in shown


# -------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("make", "mnits", "twin"), "kind: unknown 'mnits'; did you mean 'mnist'?"),
        (("make", "csv", "twin", "--examples", "7"), "examples: 7 are too few"),
        (("make", "digits", "twin"), "kind: digits has no synthetic twin"),
        (("info", "nowhere", "--kind", "csv"), "nowhere is no folder"),
        (("check", "nowhere", "--kind", "csv"), "nowhere is no folder"),
        (("info", ".", "--kind", "cvs"), "kind: unknown 'cvs'; did you mean 'csv'?"),
        (("info", ".", "--kind", "csv"), "neither train.csv nor a single .csv is in"),
        (("info", ".", "--kind", "csv", "--set", "labl=age"), "--set labl=age: labl: unknown key 'labl'; did you mean"),
        (("info", ".", "--kind", "csv", "--set", "holdout=2"), "holdout: expected a number below 1, got 2"),
        (("info", ".", "--kind", "csv", "--set", "kind=npz"), "--set kind: name the kind with --kind"),
        (("info", ".", "--kind", "csv", "--set", "label"), "expected a path and a value"),
        (("info", ".", "--kind", "csv", "--set", "file=${env:NOT_SET}"), "NOT_SET is not set in the environment"),
        (("info", "."), "--kind: say what is in the folder ., e.g. --kind csv"),
    ],
)
def test_what_is_wrong_is_one_line_and_exits_with_2(arguments, message, tmp_path):
    done = flspec(tmp_path, "data", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_help_of_each_command_fits_a_screen(tmp_path):
    for command in ("make", "check", "info"):
        done = flspec(tmp_path, "data", command, "--help", COLUMNS="80", LINES="40")
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) <= 40
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_shell_completes_kinds(tmp_path):
    for words, incomplete in (("flspec data make cif", "cif"), ("flspec data info . --kind cif", "cif")):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("flspec"))],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ
            | {"_FLSPEC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        )  # fmt: skip
        assert [line for line in done.stdout.split() if line.startswith(incomplete)] == ["cifar10"]


def test_every_kind_that_is_read_from_files_can_be_made():
    def function(method: Any) -> object:
        return method.__func__

    without = {
        kind
        for kind, cls in family_members(Dataset).items()
        if function(cls.write_twin) is function(Dataset.write_twin) and cls.__module__.startswith("flspec.")
    }
    of_libraries = {"huggingface", "torchvision"}  # what these hold depends on their name
    assert without == {"digits", "synthetic", *of_libraries}
