"""`flspec.run` takes experiments in any form, and gives results that know their folders; a matrix goes on."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

import flspec
from flspec.api import Results, RunResult
from flspec.errors import InputError, RunError, SpecError
from flspec.runs.result import load_result
from flspec.runs.runner import run as run_alone
from flspec.spec.study import parse_study

VALUES: dict[str, Any] = yaml.safe_load("""
flspec: 1
name: from-python
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 64, optimizer: {kind: sgd, learning_rate: 0.1}}
""")
SPEC = flspec.load_spec(VALUES)
AXES = {"client.epochs": [1, 2]}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return flspec.run(SPEC.with_matrix(AXES, seeds=[0, 1]), out=tmp_path_factory.mktemp("matrix"), jobs=1)


def test_a_matrix_from_python_is_the_matrix_of_a_file() -> None:
    study = SPEC.with_matrix(AXES, seeds=range(2), exclude=[{"client.epochs": 2, "seed": 1}], include=[{"rounds": 3}])
    section = {"axes": AXES, "seeds": [0, 1], "exclude": [{"client.epochs": 2, "seed": 1}], "include": [{"rounds": 3}]}
    written = parse_study(yaml.safe_dump({**VALUES, "matrix": section}))
    assert [(cell.label, cell.values, cell.spec) for cell in study.cells] == [
        (cell.label, cell.values, cell.spec) for cell in written.cells
    ]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"client.epoch": [1, 2]}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"client.epochs": [1, 1]}, "1 is given twice; remove one"),
        ({"seed": [1]}, "write seeds: beside axes instead"),
        ({}, "asks for nothing; add axes, seeds or include"),
        ({"client.epochs": {1}}, "is a set, which no spec can hold"),
    ],
    ids=["path", "twice", "seed", "nothing", "set"],
)
def test_a_wrong_matrix_is_refused_as_in_a_file(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        SPEC.with_matrix(axes)
    assert message in str(refused.value)
    assert "spec: matrix" in str(refused.value) or "spec: client.epoch" in str(refused.value)


def test_each_result_of_a_matrix_is_that_of_its_cell_run_alone(results: Results, tmp_path: Path) -> None:
    assert [values["client.epochs"] for values in results.values] == [1, 1, 2, 2]
    for number, (values, result) in enumerate(zip(results.values, results, strict=True)):
        alone = run_alone(SPEC.with_(**values), "local", tmp_path / str(number))
        assert result.weights == alone.weights
        assert result.folder.parent == results.folder
        assert dict(result) == dict(load_result(result.folder))
    assert len({result.weights.sha256 for result in results if result.weights}) == 4


def test_mean_and_deviation_by_axis_take_one_line(results: Results) -> None:
    rows = results.table(metric="accuracy").rows
    assert [row["client.epochs"] for row in rows] == [1, 2]
    for row, (one, other) in zip(rows, (results[:2], results[2:]), strict=True):
        finals = [result.final.evaluation["test"]["accuracy"] for result in (one, other) if result.final]
        assert (row["num_runs"], row["mean"]) == (2, pytest.approx(sum(finals) / 2, abs=1e-12))
        assert row["sd"] == pytest.approx(statistics.stdev(finals), abs=1e-12)
    assert [(row["client.epochs"], row["round"]) for row in results.curves().rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_an_axis_of_whole_sections_is_a_table_by_their_kinds(tmp_path: Path) -> None:
    sections = [{"kind": "fedavg"}, {"kind": "fedadam", "learning_rate": 0.01}]
    kinds = flspec.run(SPEC.with_matrix({"aggregator": sections}), out=tmp_path, jobs=1)
    assert [row["aggregator"] for row in kinds.table().rows] == ["fedavg", "fedadam"]


def test_the_same_call_runs_no_finished_cell_again(results: Results) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.folder.glob("*/**/*") if path.is_file()}
    wider = flspec.run(SPEC.with_matrix({"client.epochs": [1, 2, 3]}, seeds=[0, 1]), out=results.folder, jobs=1)
    assert len(wider) == 6
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_file_is_one_run_or_a_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(yaml.safe_dump(VALUES))
    Path("many.yaml").write_text(yaml.safe_dump({**VALUES, "matrix": {"seeds": [0, 1]}}))
    one, many = flspec.run("one.yaml"), flspec.run("many.yaml", jobs=1)
    assert isinstance(one, RunResult)
    assert (one.folder.parent, next(iter(one.frame()["run"]))) == (tmp_path / "runs", one.folder.name)
    assert isinstance(many, Results)
    assert many.folder == tmp_path / "runs/many-local-matrix"
    assert many[0].weights == one.weights == flspec.run(flspec.compile(SPEC)).weights


@pytest.mark.parametrize(("many", "option"), [(False, "jobs"), (True, "workers"), (True, "source")])
def test_an_option_that_would_do_nothing_is_refused(tmp_path: Path, many: bool, option: str) -> None:
    experiment: Any = SPEC.with_matrix(seeds=[0, 1]) if many else SPEC
    wrong: Any = {option: 2}
    with pytest.raises(InputError, match=f"^{option}: "):
        flspec.run(experiment, out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_what_watch_raises_comes_out_and_the_run_goes_on_later(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(told: Any) -> None:
        raise Enough

    with pytest.raises(Enough):
        flspec.run(SPEC, out=tmp_path / "run", watch=stop)
    assert load_result(tmp_path / "run").status == "interrupted"
    whole = flspec.run(SPEC, out=tmp_path / "run", resume=True)
    assert whole.weights == flspec.run(SPEC, out=tmp_path / "again").weights
    with pytest.raises(Enough):
        flspec.run(SPEC.with_matrix(AXES), out=tmp_path / "matrix", watch=stop, jobs=1)
    assert len(flspec.run(SPEC.with_matrix(AXES), out=tmp_path / "matrix", jobs=1)) == 2


def test_a_failed_cell_is_told_and_the_others_stay(tmp_path: Path) -> None:
    study = SPEC.with_matrix({"partition.clients": [2, 5000]})
    with pytest.raises(RunError, match=r"1 of 2 cells failed: clients=5000: .*flspec\.measurements_of"):
        flspec.run(study, out=tmp_path, jobs=1)
    assert len(flspec.measurements_of(tmp_path).results) == 1
