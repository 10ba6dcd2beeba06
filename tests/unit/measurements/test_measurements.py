"""The long table has every value of every run, and its means are those of the raw result files."""

from __future__ import annotations

import csv
import json
import re
import statistics
import subprocess
import sys
import weakref
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flspec
from flspec.errors import InputError, RunWarning
from flspec.measurements import Measurements, Tally, measurements_of, run_folders
from flspec.measurements.axes import axes_of, settings_by_path
from flspec.runs.result import Result, load_result
from flspec.runs.runner import run
from flspec.runs.sweep import sweep
from flspec.spec.loading import load_spec
from flspec.spec.study import parse_study
from tests.unit.exports.made_runs import write_run, write_sweep

SPEC = """
flspec: 1
name: measured
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 64, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
MATRIX = "matrix: {axes: {client.optimizer.learning_rate: [0.05, 0.2]}, seeds: [0, 1, 2]}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep, and beside it a run of another aggregator."""
    folder = tmp_path_factory.mktemp("measured")
    sweep(parse_study(SPEC + MATRIX), "local", folder / "sweep", jobs=1)
    (folder / "spec.yaml").write_text(SPEC)
    run(load_spec(folder / "spec.yaml", ["aggregator={kind: fedadam, learning_rate: 0.01}"]), "local", folder / "alone")
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> Measurements:
    return measurements_of(folder)


def raw(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("**/result.json"))]


def last_accuracies(folder: Path, rate: float) -> list[float]:
    return [
        result["final"]["evaluation"]["test"]["accuracy"]
        for result in raw(folder / "sweep")
        if result["spec"]["client"]["optimizer"]["learning_rate"] == rate
    ]


def test_every_value_of_every_run_is_a_row(folder: Path, measured: Measurements) -> None:
    per_run = sum(len(r["train"]) + len(r["evaluation"]["test"]) + 3 for r in raw(folder)[0]["rounds"])
    of_clients = list(csv.DictReader((folder / "alone" / "clients.csv").open(newline="")))
    per_run += sum(
        bool(row[name]) for row in of_clients for name in row.keys() - {"round", "client", "name", "dropped"}
    )
    assert len(measured.results) == 7
    assert len(list(measured.rows)) == 7 * per_run
    values = [r["evaluation"]["test"]["loss"] for result in raw(folder / "alone") for r in result["rounds"]]
    rows = [row for row in measured.records() if row["run"] == "alone" and row["split"] == "test"]
    assert [row["value"] for row in rows if row["metric"] == "loss"] == values
    assert [row["round"] for row in rows if row["metric"] == "loss"] == [1, 2, 3]


def test_the_columns_are_the_documented_ones_with_the_axes_between(measured: Measurements) -> None:
    axes = ("client.optimizer.learning_rate", "aggregator")
    ends = ("seed", "backend", "status", "round", "split", "group", "client", "metric", "value")
    assert all(tuple(row) == ("run", "plan", *axes, *ends) for row in measured.records())


def test_means_and_deviations_are_those_of_the_result_files(folder: Path) -> None:
    tally = measurements_of(folder / "sweep").table()
    assert [row["client.optimizer.learning_rate"] for row in tally.rows] == [0.05, 0.2]
    for row in tally.rows:
        values = last_accuracies(folder, row["client.optimizer.learning_rate"])
        assert (row["num_runs"], len(set(values))) == (3, 3)
        assert row["mean"] == pytest.approx(sum(values) / 3, abs=1e-12)
        assert row["sd"] == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert tally.rows[0]["mean"] != tally.rows[1]["mean"]


def test_a_curve_has_a_row_for_each_round_and_ends_in_the_table(measured: Measurements) -> None:
    curve, table = measured.curves(by="aggregator"), measured.table(by="aggregator")
    assert [(row["aggregator"], row["round"]) for row in curve.rows] == [
        (kind, round_) for kind in ("fedadam", "fedavg") for round_ in (1, 2, 3)
    ]
    ends = [(row["aggregator"], row["mean"], row["sd"]) for row in curve.rows if row["round"] == 3]
    assert ends == [(row["aggregator"], row["mean"], row["sd"]) for row in table.rows]
    assert table.rows[0]["sd"] is None


def test_any_setting_or_column_of_a_run_may_be_what_a_table_is_by(measured: Measurements) -> None:
    assert [row["rounds"] for row in measured.table(by="rounds").rows] == [3]
    assert {(row["seed"], row["num_runs"]) for row in measured.table(by=["seed"]).rows} == {(0, 3), (1, 2), (2, 2)}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "agregator"}, "by: unknown 'agregator'; did you mean 'aggregator'"),
        ({"metric": "acuracy"}, "metric: unknown 'acuracy'; did you mean 'accuracy'"),
        ({"split": "tset"}, "split: unknown 'tset'; did you mean 'test'"),
        ({"group": "sex=f"}, "group: unknown 'sex=f'; choose one of none"),
    ],
    ids=["by", "metric", "split", "group"],
)
def test_what_no_run_has_is_refused(measured: Measurements, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        measured.table(**asked)
    assert str(refused.value).startswith(message)


def test_a_run_that_did_not_end_counts_in_no_mean(measured: Measurements) -> None:
    first, *others = measured.results
    cut = first.model_copy(update={"status": "interrupted", "rounds": first.rounds[:1]})
    both = Measurements(measured.folders, (cut, *others))
    assert len(both.records()) < len(measured.records())
    assert sum(row["num_runs"] for row in both.table().rows) == 6
    assert sum(row["num_runs"] for row in both.curves().rows) == 18


def test_a_metric_without_a_value_is_a_row_and_no_part_of_a_mean(measured: Measurements) -> None:
    first, *others = measured.results
    last = first.rounds[-1].model_copy(update={"evaluation": {"test": {}}, "undefined": {"test": {"accuracy": "why"}}})
    with_none = Measurements(
        measured.folders, (first.model_copy(update={"rounds": (*first.rounds[:-1], last)}), *others)
    )
    assert [row.value for row in with_none.rows if row.run == 0 and row.metric == "accuracy" and row.split == "test"][
        -1
    ] is None
    assert sum(row["num_runs"] for row in with_none.table().rows) == 6


def test_groups_of_examples_stand_apart_from_their_split(measured: Measurements) -> None:
    first = measured.results[0]
    record = first.rounds[-1].model_copy(
        update={"evaluation": {"test": {"accuracy": 0.5}, "test/sex=f": {"accuracy": 0.25}}}
    )
    one = Measurements(measured.folders[:1], (first.model_copy(update={"rounds": (record,)}),))
    assert [
        (row.split, row.group, row.value) for row in one.rows if row.metric == "accuracy" and row.split == "test"
    ] == [
        ("test", None, 0.5),
        ("test", "sex=f", 0.25),
    ]
    assert (one.table().rows[0]["mean"], one.table(group="sex=f").rows[0]["mean"]) == (0.5, 0.25)


def test_a_run_named_twice_counts_once_and_names_tell_runs_apart(folder: Path) -> None:
    twice = measurements_of([folder / "alone", folder, folder / "alone" / ".." / "alone"])
    assert len(twice.results) == 7
    assert len(set(twice.names)) == 7


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = {".": "no run with a result here; name", "absent": "absent does not exist; name", "file": "is not a folder"}
    for path, message in wrong.items():
        with pytest.raises(InputError, match=message):
            measurements_of(tmp_path / path)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "events.jsonl").write_text("")
    with pytest.raises(InputError, match=r"no run with a result here, and .*begun has not ended; go on with --resume"):
        measurements_of(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match="not a result of this schema"):
        measurements_of(tmp_path)


def test_what_cannot_be_read_is_told_and_the_others_count(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").symlink_to(folder / "alone")
    for name, file in {"broken": "result.json", "begun": "events.jsonl"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{")
    with pytest.warns(RunWarning) as told:
        found = measurements_of([tmp_path, tmp_path / "alone"])
    assert found.names == ["alone"]
    assert [re.sub(".*(broken|begun)", "\\1", str(one.message)) for one in told] == [
        "broken/result.json: not valid JSON; was it cut short?; it is left out",
        "begun is left out: it has not ended; go on with --resume",
    ]


def test_results_of_large_files_are_in_memory_one_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def most_alive(kept_bytes: int) -> int:
        loaded, most = list[weakref.ref[Result]](), 0
        monkeypatch.setattr("flspec.measurements.stored._KEPT_BYTES", kept_bytes)

        def load(folder: Path) -> Result:
            nonlocal most
            result = load_result(folder)
            loaded.append(weakref.ref(result))
            most = max(most, sum(one() is not None for one in loaded))
            return result

        monkeypatch.setattr("flspec.measurements.stored.load_result", load)
        measured = measurements_of(folder / "sweep")
        assert sum(1 for _ in measured.cells()) > 0
        assert measured.table(by="rounds").rows[0]["num_runs"] == 6
        return most

    assert most_alive(0) <= 2  # one that is read while the one before is let go
    assert most_alive(2**23) == 6


def test_a_frame_is_pandas_where_that_is_installed_and_records_elsewhere(
    measured: Measurements, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DataFrame:
        from_records = staticmethod(lambda rows, columns: [dict(zip(columns, row, strict=True)) for row in rows])

    pandas = ModuleType("pandas")
    pandas.__spec__ = ModuleSpec("pandas", None)
    pandas.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    monkeypatch.setattr(Measurements, "records", None)
    assert measured.frame()[0]["metric"] == "loss"
    monkeypatch.undo()
    monkeypatch.setattr("flspec.measurements.table.find_spec", lambda name: None)
    assert measured.frame() == measured.records()


CLIENTS = """round,client,name,examples,trained,loss,update_norm,dropped
1,0,north,10,10,0.5,,
1,3,"so,uth",4,8,inf,0.25,late
"""


def with_clients(measured: Measurements, folder: Path, text: str | None) -> Measurements:
    """The first run, as if that had been its table of clients."""
    if text is not None:
        (folder / "clients.csv").write_text(text)
    clients = {"path": "../elsewhere/clients.csv"}  # whose folder does not count
    document = measured.results[0].model_dump(mode="json") | {"clients": clients}
    return Measurements((folder,), (Result.model_validate_json(json.dumps(document)),))


def test_what_single_clients_measured_are_rows_and_no_part_of_means(measured: Measurements, tmp_path: Path) -> None:
    one = with_clients(measured, tmp_path, CLIENTS)
    rows = [row for row in one.rows if row.client is not None]
    assert {(row.run, row.round, row.split, row.group) for row in rows} == {(0, 1, "train", None)}
    assert [(row.client, row.metric, row.value) for row in rows] == [
        *((0, "examples", 10.0), (0, "trained", 10.0), (0, "loss", 0.5)),
        *((3, "examples", 4.0), (3, "trained", 8.0), (3, "loss", None), (3, "update_norm", 0.25)),
    ]
    assert one.curves(metric="loss", split="train").rows[0]["num_runs"] == 1
    assert len(one.records()) == len(list(one.rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            CLIENTS.replace("0.5", "half"),
            r"clients.csv:2: not a row of round, client, name, …: could not convert.*half",
        ),
        (CLIENTS + "2,1\n", r"clients.csv:4: not a row of round, client, name, …: zip"),
        (CLIENTS.replace("round,", "turn,"), "clients.csv:2: not a row of turn, client, name, …: 'round'"),
        (CLIENTS + "\xff", "clients.csv:4: not a row of"),
    ],
)
def test_what_is_no_table_of_clients_is_told_with_its_line(
    measured: Measurements, tmp_path: Path, text: str, message: str
) -> None:
    one = with_clients(measured, tmp_path, text)
    with pytest.raises(InputError, match=message):
        list(one.rows)
    assert one.table().rows  # which does not read it


def test_a_table_of_clients_that_is_gone_is_told(measured: Measurements, tmp_path: Path) -> None:
    one = with_clients(measured, tmp_path, None)
    with pytest.warns(RunWarning, match=r"clients\.csv is missing; values of single clients are left out"):
        assert all(row.client is None for row in one.rows)


def test_settings_inside_sections_are_compared_among_sections_of_a_kind() -> None:
    def with_aggregator(**aggregator: Any) -> dict[str, Any]:
        return settings_by_path({"seed": aggregator.pop("seed", 0), "aggregator": aggregator, "rounds": 3})

    adam, avg = {"kind": "fedadam", "beta": 0.9, "rate": 1}, {"kind": "fedavg", "rate": 2}
    assert axes_of([with_aggregator(**adam), with_aggregator(**avg, seed=1)]) == ["aggregator"]
    assert axes_of([with_aggregator(**adam), with_aggregator(**adam | {"beta": 0.5}), with_aggregator(**avg)]) == [
        "aggregator",
        "aggregator.beta",
    ]
    assert axes_of([settings_by_path({"clip": None}), settings_by_path({"clip": {"norm": 1.0}})]) == ["clip.norm"]
    assert axes_of([with_aggregator(**adam)]) == []


def test_a_list_of_sections_with_kinds_is_their_kinds_and_what_is_in_them():
    def attacked(*faults):
        return settings_by_path({"faults": list(faults)})

    none, weak, strong = attacked(), attacked({"kind": "ipm", "epsilon": 1}), attacked({"kind": "ipm", "epsilon": 9})
    assert (none["faults"], weak["faults"], weak["faults.0.epsilon"]) == ("none", "ipm", 1)
    assert attacked({"kind": "a"}, {"kind": "b"})["faults"] == "a + b"
    assert axes_of([none, weak]) == ["faults"]
    assert axes_of([weak, strong]) == ["faults.0.epsilon"]


def test_a_table_in_a_notebook_shows_names_as_text() -> None:
    tally = Tally.of(["name"], [(["<script>"], 0.5), (["\x1b[31m"], 0.25)])
    assert "<script>" not in tally._repr_html_()
    assert "&lt;script&gt;" in tally._repr_html_()
    assert "\x1b" not in str(tally)
    assert str(tally).splitlines()[1].split() == ["<script>", "1", "0.5000", "-"]


def test_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["rate=0.05,seed=2", "rate=0.05,seed=10", "rate=0.2,seed=1", "rate=2,seed=0", "rate=10,seed=0"]
    for name in reversed(names):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
    assert [folder.name for folder in run_folders([tmp_path])] == names


def test_folders_of_a_sweep_are_in_the_order_of_its_matrix(tmp_path: Path) -> None:
    for name in ("fedadam", "fedavg", "earlier"):
        write_run(tmp_path / name, [0.5], settings={"aggregator": {"kind": name}})
    write_sweep(tmp_path, [{"label": name, "values": {}, "folder": name} for name in ("fedavg", "fedadam")])
    assert [folder.name for folder in run_folders([tmp_path])] == ["fedavg", "fedadam", "earlier"]
    (tmp_path / "matrix.json").write_text("{")
    assert [folder.name for folder in run_folders([tmp_path])] == ["earlier", "fedadam", "fedavg"]


def test_importing_flspec_loads_nothing_of_it_and_every_name_is_there() -> None:
    code = "import flspec, sys; print(sorted(m for m in sys.modules if m.startswith(('flspec.', 'numpy', 'pydantic'))))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert all(callable(getattr(flspec, name)) for name in flspec.__all__)
