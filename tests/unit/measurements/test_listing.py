"""Runs are listed with what differs between them, however they ended, in less than a second for 400."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from flspec.core.files import locked_folder
from flspec.errors import InputError
from flspec.measurements.listing import Listing, list_runs
from flspec.runs.found import find_runs
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.spec.loading import load_spec
from tests.command_line import flspec

SPEC = """
flspec: 1
name: listed
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
cohort: {kind: uniform, size: 2}
model: {kind: softmax_regression}
client: {steps: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that ended in every way, in names that sort otherwise as text."""
    folder = tmp_path_factory.mktemp("listed")
    (folder / "spec.yaml").write_text(SPEC)
    for number, settings in ((2, []), (10, ["aggregator={kind: fedadam, learning_rate: 0.01}"]), (9, ["seed=1"])):
        run(load_spec(folder / "spec.yaml", settings), "local", folder / "runs" / f"listed-{number}")
    for number, status, error in ((11, "failed", "no room"), (12, "interrupted", "interrupted"), (13, "killed", "")):
        copy = shutil.copytree(folder / "runs" / "listed-2", folder / "runs" / f"listed-{number}")
        if status == "killed":
            (copy / "result.json").unlink()
        else:
            _change(copy, status=status, error=error, final=None, weights=None)
    return folder


def _change(folder: Path, **values: Any) -> None:
    result = json.loads((folder / "result.json").read_text()) | values
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")


@pytest.fixture(scope="module")
def listing(made: Path) -> Listing:
    return list_runs([made / "runs"])


def names(listing: Listing) -> list[str]:
    return [run.name.removeprefix("listed-") for run in listing.runs]


def test_runs_stand_in_their_numbers_order_with_how_they_ended_and_why(listing: Listing) -> None:
    assert [(run.name, run.found.status) for run in listing.runs] == [
        ("listed-2", "finished"),
        ("listed-9", "finished"),
        ("listed-10", "finished"),
        ("listed-11", "failed"),
        ("listed-12", "interrupted"),
        ("listed-13", "interrupted"),
    ]
    assert [run.found.why for run in listing.runs[3:]] == [
        "no room",
        "interrupted",
        "its process ended before it could say why",
    ]
    assert {(run.found.last_round, run.found.num_rounds) for run in listing.runs} == {(2, 2)}
    assert {run.found.spec["name"] for run in listing.runs} == {"listed"}  # of a killed one from its plan
    assert listing.axes == ["aggregator", "seed"]


def test_a_run_that_another_process_holds_is_running(made: Path) -> None:
    with locked_folder(made / "runs" / "listed-2"), locked_folder(made / "runs" / "listed-13"):
        status = {run.folder.name: run.status for run in find_runs([made / "runs"])}
    assert (status["listed-2"], status["listed-13"], status["listed-9"]) == ("running", "running", "finished")
    assert not list(made.glob("runs/*/.lock"))  # and asking leaves no lock


def test_a_result_is_the_whole_one_without_its_rounds(made: Path, tmp_path: Path) -> None:
    folder = made / "runs" / "listed-10"
    whole = load_result(folder)
    assert whole.rounds
    assert find_runs([folder])[0].result == whole.model_copy(update={"rounds": ()})
    shutil.copytree(folder, tmp_path / "other")
    content = json.dumps(json.loads((folder / "result.json").read_text()))  # in one line, so nothing is left out
    (tmp_path / "other" / "result.json").write_text(content)
    assert find_runs([tmp_path / "other"])[0].result == whole


def test_a_long_result_is_read_at_both_ends_alone(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(made / "runs" / "listed-10", tmp_path / "long")
    rounds = json.loads((tmp_path / "long" / "result.json").read_text())["rounds"]
    _change(tmp_path / "long", rounds=[rounds[0] | {"round": number} for number in range(1, 3001)])
    assert (tmp_path / "long" / "result.json").stat().st_size > 2**20
    monkeypatch.setattr("flspec.runs.found.load_result", None)  # which reads it whole
    found = find_runs([tmp_path / "long"])[0]
    assert found.result
    assert found.result.final
    assert found.result.rounds == ()


@pytest.mark.parametrize("content", ["", "{", '{"status": "completed"}', '\n  "rounds": [\n  "final": '])
def test_what_is_no_result_is_damaged_and_says_so(made: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(made / "runs" / "listed-2", tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text(content)
    found = find_runs([tmp_path])[0]
    assert (found.status, found.backend, found.result) == ("damaged", "local", None)
    assert "result.json" in found.why


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("aggregator=fedadam", ["10"]),
        ("aggregator!=fedadam", ["2", "9", "11", "12", "13"]),
        ("aggregator = fedavg", ["2", "9", "11", "12", "13"]),
        ("seed>=1", ["9"]),
        ("seed<1", ["2", "10", "11", "12", "13"]),
        ("client.epochs=null", ["2", "9", "10", "11", "12", "13"]),
        ("status=failed", ["11"]),
        ("started>2020-01-01", ["2", "9", "10", "11", "12", "13"]),
        ("test/accuracy>=0", ["2", "9", "10"]),
        ("test/accuracy<0", []),
    ],
)
def test_runs_are_chosen_by_what_they_are(listing: Listing, condition: str, found: list[str]) -> None:
    assert names(listing.where([condition])) == found


def test_a_metric_sorts_by_its_best_and_a_setting_from_below(listing: Listing, made: Path) -> None:
    accuracy = {run.name.removeprefix("listed-"): run.metrics.get("test/accuracy") for run in listing.runs}
    finished = sorted(("2", "9", "10"), key=lambda name: -accuracy[name])  # type: ignore[operator]
    assert names(listing.sorted_by("test/accuracy")) == [*finished, "11", "12", "13"]
    assert names(listing.sorted_by("seed")) == ["2", "10", "11", "12", "13", "9"]
    losses = [run.metrics["test/loss"] for run in listing.sorted_by("test/loss").runs[:3]]
    assert losses == sorted(losses)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("agregator=fedadam", "no run here has 'agregator'; did you mean 'aggregator'?"),
        ("aggregator", "compares nothing; write e.g. aggregator=fedadam"),
        ("best/accuracy>0", "no run here has 'best/accuracy'"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(listing: Listing, condition: str, told: str) -> None:
    with pytest.raises(InputError, match=r"--where: .*") as refused:
        listing.where([condition])
    assert told in str(refused.value)


def test_the_command_shows_it_as_a_table_and_as_json(made: Path) -> None:
    shown = flspec(made, "runs", "--sort", "test/accuracy", "--metric", "test/loss", COLUMNS="120")
    rows = [line.split() for line in shown.stdout.splitlines() if line.strip().startswith("listed-")]
    assert shown.returncode == 0
    assert [row[0] for row in rows[:6]][3:] == ["listed-11", "listed-12", "listed-13"]
    assert "listed-11 failed: no room" in shown.stdout
    assert "listed-12 interrupted:" not in shown.stdout  # which says no more than its row
    narrow = flspec(made, "runs", COLUMNS="40").stdout
    whole = [run.name for run in list_runs([made / "runs"]).runs] + ["fedadam", "interrupted", "accuracy"]
    assert all(value in narrow for value in whole)
    assert "…" not in narrow
    listed = json.loads(flspec(made, "runs", "--where", "aggregator=fedadam", "--json").stdout)["runs"]
    assert [one["run"] for one in listed] == ["listed-10"]
    assert (
        listed[0]["metrics"]["test/accuracy"]
        == load_result(made / "runs" / "listed-10").final.evaluation["test"][  # type: ignore[union-attr]
            "accuracy"
        ]
    )
    for arguments, told in (
        (["nowhere"], "nowhere: there is no such folder"),
        (["--sort", "speed"], "--sort: no run here has 'speed'"),
        (["--metric", "test/f1"], "--metric: no run here has 'test/f1'"),
    ):
        refused = flspec(made, "runs", *arguments)
        assert refused.returncode == 2
        assert told in refused.stderr


def test_four_hundred_runs_are_listed_in_a_second(made: Path, tmp_path: Path) -> None:
    source = made / "runs" / "listed-2"
    for number in range(1, 401):
        (tmp_path / f"run-{number}").mkdir()
        for name in ("result.json", "events.jsonl"):
            (tmp_path / f"run-{number}" / name).hardlink_to(source / name)
    before = time.process_time()
    listing = list_runs([tmp_path])
    seconds = time.process_time() - before
    assert [run.name for run in listing.runs] == [f"run-{number}" for number in range(1, 401)]
    assert seconds < 1  # 0.2 measured
