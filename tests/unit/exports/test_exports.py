"""What is exported is what the runs measured, whatever their names."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from flspec.errors import InputError
from flspec.exports import Asked, export_kinds, find_export
from flspec.exports.base import LongTable, ModelExport, PaperTable
from flspec.measurements import measurements_of
from tests.unit.exports.made_runs import write_run, write_sweep

HOSTILE = "a|b & <script>_$x$ `c` **d** 100% {e} [f](g) \\h ~i ^j #k @l\n\x1b[31m\u202e"
RATES = {0.5: [0.25, 0.5, 1.0], 2.0: [0.125, 0.25, 0.5]}  # the last round's accuracies, by learning rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two learning rates and three seeds, of which one failed after a round and another could not begin."""
    folder = tmp_path_factory.mktemp("made") / "sweep"
    cells = []
    for rate, accuracies in RATES.items():
        for seed, accuracy in enumerate(accuracies):
            label = f"rate={rate:g},seed={seed}"
            settings = {"rate": rate, "hidden": [64]}
            write_run(folder / label, [0.0625, accuracy], seed, settings=settings)
            cells.append(
                {"label": label, "values": {"rate": rate, "seed": seed}, "folder": label} | {"status": "completed"}
            )
    write_run(folder / "rate=8,seed=0", [0.75], 0, "failed", error="it\ndiverged", settings={"rate": 8, "hidden": [64]})
    lost = {"label": "rate=2,seed=3", "values": {"rate": 2.0, "seed": 3}, "status": "failed", "error": "rate: no"}
    write_sweep(folder, [*cells, lost, {"label": "rate=8,seed=1", "values": {"rate": 8, "seed": 1}}])
    return folder


def exported(kind: str, *paths: Path, **asked: Any) -> str:
    file = io.StringIO()
    find_export(kind).write(Asked(paths, **asked), file)
    return file.getvalue()


def cells_of(markdown: str) -> list[list[str]]:
    """The rows of a table in Markdown without its rule."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in (lines[0], *lines[2:])]


def test_every_kind_is_of_values_of_means_or_of_a_model() -> None:
    kinds = {kind: find_export(kind) for kind in export_kinds()}
    assert {kind for kind, one in kinds.items() if isinstance(one, LongTable)} == {"csv", "json", "parquet"}
    assert {kind for kind, one in kinds.items() if isinstance(one, PaperTable)} == {"latex", "markdown"}
    assert {kind for kind, one in kinds.items() if isinstance(one, ModelExport)} == {"onnx", "safetensors", "torch"}
    with pytest.raises(InputError, match=r"--to: unknown 'latx'; did you mean 'latex'\? choose one of csv, json"):
        find_export("latx")


def test_the_long_table_is_the_same_in_every_kind_of_file(folder: Path) -> None:
    records = measurements_of(folder).records()
    assert len(records) == (6 * 2 + 1) * (1 + 2 + 3)  # rounds; of each what is trained, tested, and what it costs
    assert json.loads(exported("json", folder)) == records
    file = io.BytesIO()
    told = find_export("parquet").write(Asked((folder,)), file)
    table = pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))
    assert table.to_pylist() == records
    assert (str(table.schema.field("rate").type), str(table.schema.field("round").type)) == ("double", "int64")
    assert told == f"{len(records)} rows of 7 runs"
    text = [{name: "" if cell is None else str(cell) for name, cell in record.items()} for record in records]
    assert list(csv.DictReader(io.StringIO(exported("csv", folder)))) == text


def test_lists_in_axes_are_json(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.5], settings={"hidden": [64]})
    write_run(tmp_path / "b", [0.5], settings={"hidden": [64, 32]})
    assert json.loads(exported("json", tmp_path))[0]["hidden"] == [64]
    assert {row["hidden"] for row in csv.DictReader(io.StringIO(exported("csv", tmp_path)))} == {"[64]", "[64, 32]"}
    file = io.BytesIO()
    find_export("parquet").write(Asked((tmp_path,)), file)
    assert pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))["hidden"][0].as_py() == "[64]"
    assert [row[0] for row in cells_of(exported("markdown", tmp_path))] == ["hidden", "\\[64\\]", "\\[64, 32\\]"]


def test_a_paper_s_table_has_mean_and_sample_deviation_by_axis_and_tells_failures(folder: Path) -> None:
    text = exported("markdown", folder, metrics=("accuracy",))
    head, *rows = cells_of(text)
    assert head == ["rate", "seeds", "test accuracy"]
    found = {row[0]: row[2] for row in rows}
    for rate, values in RATES.items():
        assert found[f"{rate:g}"] == f"{sum(values) / 3:.4f} ± {statistics.stdev(values):.4f}"
        assert f"{statistics.pstdev(values):.4f}" not in found[f"{rate:g}"]  # which divides by n
    assert [row[:2] for row in rows] == [["0.5", "3"], ["2", "3 (1 failed)"], ["8", "0 (1 failed, 1 not run)"]]
    assert found["8"] == "-"
    assert text.splitlines()[-1] == (
        "Table: made; mean ± sample standard deviation over seeds, after the last round (2); "
        "rate=8,seed=0 failed\\: it\\\\ndiverged; rate=2,seed=3 failed\\: rate\\: no; rate=8,seed=1 not run."
    )


def test_a_table_is_of_the_round_and_the_metrics_asked_for(folder: Path, tmp_path: Path) -> None:
    head, *rows = cells_of(exported("markdown", folder, round=1, metrics=("bytes_up", "test/accuracy")))
    assert head[2:] == ["bytes\\_up", "test accuracy"]
    assert rows[0][2:] == ["4.0000 ± 0.0000", "0.0625 ± 0.0000"]
    best = {"round": 1, "metric": "accuracy", "on": "test", "value": 0.75, "evaluation": {}, "weights": None}
    write_run(tmp_path / "a", [0.75, 0.5], best=best)
    (_, row) = cells_of(exported("markdown", tmp_path, round="best", metrics=("accuracy",)))
    assert row == ["1", "0.7500"]  # one seed has no deviation
    (_, row) = cells_of(exported("markdown", tmp_path, metrics=("accuracy",)))
    assert row == ["1", "0.5000"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"metrics": ("acuracy",)},
            "metric: unknown 'acuracy'; did you mean 'accuracy'? choose one of loss, accuracy, bytes_down",
        ),
        ({"metrics": ("train/loss",)}, "metric: unknown 'train/loss'; choose one of loss, accuracy"),
        ({"round": 3}, "round: no run was evaluated after round 3; the first was after 1, 2"),
        ({"round": "best"}, "round: no run has a best round; ask for it in the spec with evaluation.best"),
        ({"by": ("rats",)}, "by: unknown 'rats'; did you mean 'rate'"),
    ],
)
def test_what_no_run_has_is_refused(folder: Path, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        exported("markdown", folder, **asked)


def test_nothing_to_export_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [], status="failed")
    with pytest.raises(InputError, match="nothing to export: none of 1 runs has a round"):
        exported("csv", tmp_path)
    with pytest.raises(InputError, match="nothing to tell: of 1 runs none completed"):
        exported("latex", tmp_path)


def test_means_over_other_settings_are_said_to_be_over_runs(folder: Path) -> None:
    head, row = cells_of(exported("markdown", folder, by=("aggregator",), metrics=("accuracy",)))
    every = [value for values in RATES.values() for value in values]
    assert head == ["aggregator", "runs", "test accuracy"]
    assert row == ["fedavg", "6 (2 failed, 1 not run)", f"{sum(every) / 6:.4f} ± {statistics.stdev(every):.4f}"]


def test_backends_stand_apart_and_a_repeated_run_counts_once(tmp_path: Path) -> None:
    for name, backend, accuracy in [
        ("cert/local", "local", 0.25),
        ("b", "local", 0.25),
        ("cert/flower", "flower", 0.5),
    ]:
        write_run(tmp_path / name, [accuracy], backend={"name": backend, "versions": {}})
    (tmp_path / "cert" / "events.jsonl").write_text("")  # as a certificate has them beside its runs
    text = exported("markdown", tmp_path, metrics=("accuracy",))
    assert cells_of(text)[1:] == [["local", "1", "0.2500"], ["flower", "1", "0.5000"]]
    assert text.endswith("; 1 that repeat another run's plan on the same backend do not count.\n")


def test_a_metric_that_some_runs_have_says_of_how_many(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.25, None, 0.75]):
        write_run(tmp_path / str(seed), [accuracy], seed)
    assert cells_of(exported("markdown", tmp_path))[1] == ["3", "0.5000 ± 0.0000", "0.5000 ± 0.3536 (2 of 3)"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [-0.5], settings={"aggregator": {"kind": HOSTILE}}, name=HOSTILE)
    write_run(tmp_path / "b", [0.5], settings={"aggregator": {"kind": "--- [x]"}})
    markdown, latex = exported("markdown", tmp_path), exported("latex", tmp_path)
    assert all(char == "\n" or char.isprintable() for char in markdown + latex)
    assert "<script" not in markdown
    assert len({len(row) for row in cells_of(markdown)}) == 1
    assert "a\\|b &amp; &lt;script&gt;\\_\\$x\\$ \\`c\\` \\*\\*d\\*\\* 100% \\{e\\} \\[f\\](g) \\\\h" in markdown
    body = latex.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    assert [line.count(" & ") for line in body] == [3, 3]  # an & of a name is \&
    assert body[0].startswith(
        "a\\textbar{}b \\& \\textless{}script\\textgreater{}\\_\\$x\\$ \\textasciigrave{}c\\textasciigrave{} "
        "{*}{*}d{*}{*} 100\\% \\{e\\} {[}f](g) \\textbackslash{}h "
        "\\textasciitilde{}i \\textasciicircum{}j \\#k @l\\textbackslash{}n"
    )
    assert body[1] == "-{}-{}- {[}x] & 1 & 0.5000 & 0.5000 \\\\"
    assert "$-$0.5000" in body[0]
    assert json.loads(exported("json", tmp_path))[0]["aggregator"] == HOSTILE
    assert next(csv.DictReader(io.StringIO(exported("csv", tmp_path), newline="")))["aggregator"] == HOSTILE


def test_a_twin_and_tasks_cut_short_are_told(tmp_path: Path) -> None:
    twin = {"kind": "mnist", "twin": {"clients": 2, "examples": 8}}
    write_run(tmp_path / "a", [0.5], settings={"dataset": twin}, first_steps=3)
    text = exported("markdown", tmp_path)
    assert "synthetic twin of mnist, 2 clients, 8 examples; of the first 3 steps of each task" in text
