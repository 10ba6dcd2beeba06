"""A run is shown with who said its settings, and runs again to the same bits; what differs is found by its round."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flspec.runs.result import load_result
from tests.command_line import flspec

SPEC = """
flspec: 1
name: repeated
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
cohort: {kind: uniform, size: 2}
model: {kind: softmax_regression}
client: {steps: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeated")
    (folder / "spec.yaml").write_text(SPEC)
    assert flspec(folder, "run", "spec.yaml", "--set", "seed=7").returncode == 0
    return folder


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(home / "runs" / "repeated-local-1", tmp_path / "run")


def changed(folder: Path, **values: Any) -> None:
    result = json.loads((folder / "result.json").read_text()) | values
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")


def test_a_run_is_the_same_again_to_the_last_bit(home: Path) -> None:
    done = flspec(home, "reproduce", "runs/repeated-local-1")
    assert done.returncode == 0, done.stderr
    again = home / "runs" / "repeated-local-2"
    assert load_result(again).weights == load_result(home / "runs" / "repeated-local-1").weights
    assert done.stdout.splitlines()[1:] == [
        "weights: the same to the last bit",
        "curves: the same in all 3 rounds",
        "versions: the same",
    ]
    assert (again / "spec.yaml").read_text() == (home / "runs" / "repeated-local-1" / "spec.yaml").read_text()


def test_what_differs_is_named_with_its_first_round_and_the_versions(copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text())
    second = before["rounds"][1]
    second["evaluation"]["test"]["loss"] += 0.25
    before["rounds"][2]["train"]["loss"] += 1.0
    before["weights"]["sha256"] = "0" * 64
    before["software"]["versions"]["torch"] = "1.0"
    changed(copy, **before)
    done = flspec(copy.parent, "reproduce", "run", "--json", "--out", "again")
    found = json.loads(done.stdout)
    true = second["evaluation"]["test"]["loss"] - 0.25
    assert done.returncode == 1
    assert not found["same"]
    assert not found["same_weights"]
    difference = {"round": 2, "what": "evaluation/test/loss", "before": true + 0.25, "again": pytest.approx(true)}
    assert found["first_difference"] == difference
    assert found["largest"] == {"evaluation/test/loss": pytest.approx(0.25), "train/loss": pytest.approx(1.0)}
    assert any(version.startswith("torch 1.0 and ") for version in found["versions"])
    assert "it was changed since" in found["remarks"][0]


def test_of_an_interrupted_run_the_rounds_that_it_has_are_compared(copy: Path) -> None:
    before = json.loads((copy / "result.json").read_text())
    changed(copy, status="interrupted", error="interrupted", rounds=before["rounds"][:2], weights=None, final=None)
    found = json.loads(flspec(copy.parent, "reproduce", "run", "--json").stdout)
    assert (found["num_rounds"], found["same_weights"], found["first_difference"]) == (2, None, None)
    assert any("was interrupted after 2 rounds" in remark for remark in found["remarks"])


def test_examples_that_are_no_longer_stored_are_read_again_and_others_are_refused(copy: Path) -> None:
    new, newer = (str(copy.parent / name) for name in ("cache", "another"))
    assert flspec(copy.parent, "reproduce", "run", "--out", "again", FLSPEC_CACHE=new).returncode == 0
    (copy / "spec.yaml").write_text(SPEC)  # of seed 0
    refused = flspec(copy.parent, "reproduce", "run", "--out", "other", FLSPEC_CACHE=newer)
    assert refused.returncode == 2
    assert "bring the data and packages that it began with" in refused.stderr
    assert not (copy.parent / "other").exists()


def test_what_cannot_be_repeated_is_refused_before_anything_is_written(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, told in ((copy.parent, "is no run, but has 1 inside"), (copy / "none", "there is no such folder")):
        refused = flspec(copy.parent, "reproduce", str(folder))
        assert refused.returncode == 2
        assert told in refused.stderr
    monkeypatch.setattr("flspec.protocol.plan.Plan.is_noise_secret", True)
    refused = flspec(copy.parent, "reproduce", "run")
    assert "another release of the same examples" in refused.stderr
    monkeypatch.undo()
    (copy / "result.json").unlink()
    assert "no readable result.json" in flspec(copy.parent, "reproduce", "run").stderr
    assert [path.name for path in copy.parent.iterdir()] == ["run"]


def test_a_run_is_shown_with_its_costs_and_who_said_its_settings(home: Path) -> None:
    shown = flspec(home, "show", "runs/repeated-local-1", COLUMNS="200").stdout
    facts = {line.split("  ")[0].strip(): line for line in shown.splitlines()}
    assert "finished" in facts["status"]
    assert "spec.yaml --set seed=7" in facts["written as"]
    assert "flspec reproduce runs/repeated-local-1" in shown
    assert "flspec run runs/repeated-local-1/spec.yaml --backend local" in shown
    assert "7 ← --set" in facts["seed"]
    assert "3 ← spec.yaml:4" in facts["rounds"]
    assert "false ← default" in facts["evaluation.by_label"]
    result = load_result(home / "runs" / "repeated-local-1")
    assert f"{sum(one.bytes_up for one in result.rounds) / 1024:.3g} KiB back" in facts["sent"]


def test_a_run_that_was_killed_or_damaged_is_shown_as_far_as_it_goes(copy: Path) -> None:
    (copy / "result.json").unlink()
    killed = json.loads(flspec(copy.parent, "show", "run", "--json").stdout)
    assert (killed["status"], killed["result"], killed["name"]) == ("interrupted", None, "repeated")
    assert killed["commands"][0] == "flspec run run/spec.yaml --backend local --out run --resume"
    assert {"path": "seed", "value": 7, "origin": "--set", "replaced": []} in killed["settings"]
    for name in ("spec.yaml", "plan/plan.json"):
        (copy / name).write_text("\x1b[31m: [")
    shown = flspec(copy.parent, "show", "run")
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout


def test_the_command_that_goes_on_with_a_killed_run_does(copy: Path) -> None:
    (copy / "result.json").unlink()
    command = json.loads(flspec(copy.parent, "show", "run", "--json").stdout)["commands"][0].split()
    assert flspec(copy.parent, *command[1:]).returncode == 0
    assert json.loads(flspec(copy.parent, "show", "run", "--json").stdout)["status"] == "finished"
