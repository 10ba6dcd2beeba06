"""What the command prints of a matrix, and how it exits."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from flspec.cli.consoles import EscapingConsole
from flspec.cli.sweeping import SweepProgress, run_study, sweep_table
from flspec.protocol.backend import Job
from flspec.runs.result import load_result, save_result
from flspec.runs.sweep import Standing
from flspec.runs.sweep_summary import BestRound, CellRecord, Sweep, groups_of
from flspec.spec.study import load_study
from tests.processes import wait_until

SPEC = """
flspec: 1
name: small
rounds: {rounds}
dataset: {{kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}}
partition: {{kind: iid, clients: 5}}
model: {{kind: mlp, hidden: [{hidden}, {hidden}]}}
client: {{epochs: {epochs}, batch_size: 5, optimizer: {{kind: sgd, learning_rate: 0.1}}}}
matrix:
  axes: {{partition.clients: {clients}}}
  seeds: [0, 1]
"""


def result_of(*cells: CellRecord) -> Sweep:
    return Sweep(name="small", backend="local", cells=cells, groups=groups_of(cells))


def cell(number: int, **values: Any) -> CellRecord:
    evaluation = {"test": {"accuracy": 0.9 + number / 100, "loss": 12345.678 * number}}
    return CellRecord(label=str(number), values=values, status="completed", evaluation=evaluation)


def shown(result: Sweep, width: int) -> list[str]:
    console = EscapingConsole(file=io.StringIO(), width=width)
    console.print(sweep_table(result))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_two_axes_and_two_metrics_fit_eighty_columns() -> None:
    paths = "client.optimizer.learning_rate", "partition.min_examples"
    cells = [cell(n, **dict(zip(paths, (10.0**-rate, 10), strict=True)), seed=n) for rate in (1, 4) for n in (0, 1, 2)]
    lines = shown(result_of(*cells), 80)
    assert lines[2].split() == ["learning_rate", "min_examples", "runs", "test", "accuracy", "test", "loss"]
    assert lines[4].split() == ["0.1", "10", "3", "0.9100", "±", "0.0100", "1.23e+04", "±", "1.23e+04"]
    assert lines[5].startswith(" 0.0001")
    assert not any("…" in line for line in lines)


def test_components_and_absent_values_are_told_apart() -> None:
    kinds = [{"kind": "mlp", "hidden": [6]}, {"kind": "mlp", "hidden": [7, 7]}, {"kind": "cnn"}, "[bold]\x1b", True]
    result = result_of(*(cell(n, model=kind) for n, kind in enumerate(kinds)), cell(9, other=1))
    rows = [line.split("  ")[0].strip() for line in shown(result, 120)[4:10]]
    assert rows == ["mlp hidden=[6]", "mlp hidden=[7, 7]", "cnn", "[bold]\\x1b", "true", ""]


def test_lists_of_components_are_told_by_their_kinds() -> None:
    faults: list[Any] = [[], [{"kind": "alie", "count": 5}], [{"kind": "ipm"}, {"kind": "dropout", "rate": 0.1}]]
    rows = [
        line.split("  ")[0].strip()
        for line in shown(result_of(*(cell(n, faults=one) for n, one in enumerate(faults))), 120)
    ]
    assert rows[4:7] == ["none", "alie count=5", "ipm + dropout rate=0.1"]


def test_one_run_has_no_deviation_and_failures_have_a_column() -> None:
    failed = CellRecord(label="x", values={"a": 2, "seed": 0}, status="failed", error="no")
    rows = shown(result_of(cell(0, a=1, seed=0), failed), 80)
    assert [row.split() for row in rows if row.startswith((" 1", " 2"))] == [
        ["1", "1", "0.9000", "0.0000"],
        ["2", "0", "1"],
    ]
    assert rows[2].endswith("failed")
    assert rows[5].endswith("     1")


def with_best(cell: CellRecord, accuracy: float, metric: str = "loss") -> CellRecord:
    evaluation = {"validation": {"loss": 1 - accuracy, "accuracy": 0.5}, "test": {"loss": 0.25, "accuracy": accuracy}}
    return cell.model_copy(update={"best": BestRound(round=3, metric=metric, on="validation", evaluation=evaluation)})


def test_the_best_model_of_each_run_stands_beside_the_last() -> None:
    result = result_of(with_best(cell(0, a=1, seed=0), 0.75), with_best(cell(2, a=1, seed=1), 0.25))
    lines = shown(result, 80)
    assert lines[2].split() == ["best", "best"]
    assert lines[3].split() == ["a", "runs", "test", "accuracy", "validation", "loss", "test", "accuracy"]
    # Means of 0.9 and 0.92, of 0.25 and 0.75 twice.
    assert lines[5].split() == ["1", "2", "0.9100", "±", "0.0141", "0.5000", "±", "0.3536", "0.5000", "±", "0.3536"]
    assert "best: of each run's best model, by validation loss" in lines


def test_metrics_that_a_table_has_no_room_for_are_counted() -> None:
    """Beside the best models one metric of the last ones is shown, so that the others are of the test set, too."""
    lines = shown(result_of(with_best(cell(0, a=1, seed=0), 0.75)), 80)
    assert "1 more metric is in matrix.json" in lines
    many = {"test": dict.fromkeys("abcdef", 0.5), "test/sex=f": {"a": 0.5}}
    lines = shown(result_of(CellRecord(label="x", values={"v": 1}, status="completed", evaluation=many)), 120)
    assert "3 more metrics are in matrix.json" in lines


def test_no_best_is_shown_where_it_was_chosen_by_several_rules() -> None:
    lines = shown(result_of(with_best(cell(0, a=1), 0.75), with_best(cell(1, a=2), 0.25, metric="accuracy")), 80)
    assert not any("best" in line for line in lines)


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("running", [(), ("a=1,seed=0",), ("learning_rate=0.1," * 9, "b"), ("x", "y", "z")])
def test_the_bar_never_fills_the_line(monkeypatch: pytest.MonkeyPatch, width: int, running: tuple[str, ...]) -> None:
    console = EscapingConsole(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr("flspec.cli.sweeping.progress_console", console)
    progress = SweepProgress(100)
    progress.update(Standing(100, 20, 3, 5, dict.fromkeys(running, 0.5)))
    assert progress.num_done == 20
    with console.capture() as capture:
        console.print(progress._progress.get_renderable())
    (line,) = capture.get().splitlines()[:1]
    assert "20 of 100 cells" in line or width == 40
    if width > 40:
        assert "-:--:--" in line
        assert len(line.rstrip()) <= width - 2
        assert all(label in line for label in running[:1] if len(label) < 20)


def write(folder: Path, **spec: object) -> Path:
    (folder / "spec.yaml").write_text(SPEC.format(**({"rounds": 3, "epochs": 1, "hidden": 6} | spec)))
    return folder / "spec.yaml"


def test_failed_cells_are_told_and_the_others_done_once(
    tmp_path: Path, jobs: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as exit:
        run_study(load_study(write(tmp_path, clients=[5, 70])), "local", tmp_path / "out")
    assert exit.value.exit_code == 1
    stdout, stderr = capsys.readouterr()
    reason = f"failed: {tmp_path}/spec.yaml:10:33: partition.clients: is 70, but "
    reason += "there are only 60 examples; lower it to 60 or less"
    assert stdout.splitlines().count(f"clients=70,seed=0, clients=70,seed=1 {reason}") == 1
    assert "done before" not in stdout
    assert stderr.splitlines()[0].startswith("1 of 4 cells")
    assert stderr.splitlines()[-1].startswith("4 of 4 cells, 2 failed")
    assert len(jobs) == 2

    study = load_study(write(tmp_path, clients=[5]))
    run_study(study, "local", tmp_path / "out")
    told = capsys.readouterr().out
    assert "2 of 2 cells were done before; written to" in told
    assert "done by flspec" not in told
    run_study(study, "local", tmp_path / "out", as_json=True)
    document = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "matrix.json").read_text())
    assert document == written | {"folder": str(tmp_path / "out")}
    assert len(jobs) == 2


def test_cells_that_other_software_did_are_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = load_study(write(tmp_path, clients=[5]))
    run_study(study, "local", tmp_path / "out")
    done = next((tmp_path / "out").glob("*/result.json"))
    result = load_result(done.parent)
    assert result.software
    older = result.software.model_copy(update={"versions": result.software.versions | {"torch": "1.0"}})
    save_result(done.parent, result.model_copy(update={"software": older}))
    capsys.readouterr()
    run_study(study, "local", tmp_path / "out")
    ours = result.software.versions["torch"]
    told = f"1 of 2 cells were done by other software, which may compute otherwise: torch 1.0 and {ours}\n"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_matrix_says_how_to_go_on(tmp_path: Path, number: int, status: int) -> None:
    write(tmp_path, clients=[5], rounds=30, epochs=20, hidden=1000)  # 20 seconds a cell: none ends before the signal
    process = subprocess.Popen(
        [sys.executable, "-m", "flspec", "run", "spec.yaml", "--out", "out"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any("round_finished" in path.read_text() for path in tmp_path.glob("out/*/events.jsonl")))
    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=120)
    written = Sweep.model_validate_json((tmp_path / "out" / "matrix.json").read_bytes())
    assert {cell.status for cell in written.cells} == {"interrupted"}, written.cells
    assert (process.returncode, stdout) == (status, "")
    assert stderr == "flspec: interrupted with 0 of 2 cells done; go on with the same command\n"


def test_a_metric_without_a_value_is_told_with_its_reason_as_in_a_single_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write(tmp_path, clients=[5])
    spec.write_text(spec.read_text() + "evaluation: {metrics: [accuracy, f1]}\n")
    run_study(load_study(spec), "local", tmp_path / "out")
    printed = " ".join(capsys.readouterr().out.split())
    assert "test has no f1: it needs two classes, but there are" in printed
    assert "runs)" not in printed
