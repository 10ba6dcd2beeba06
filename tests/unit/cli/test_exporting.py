"""`flspec export` writes a new file or prints, and tells what it leaves out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.command_line import flspec
from tests.unit.exports.made_runs import write_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs of three seeds, one that has begun and one whose result was cut short."""
    for seed, accuracy in enumerate([0.25, 0.5, 1.0]):
        write_run(tmp_path / "runs" / f"seed-{seed}", [accuracy], seed)
    for name, file in {"begun": "events.jsonl", "broken": "result.json"}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / file).write_text("{")
    return tmp_path


def test_a_table_is_printed_or_written_and_what_is_left_out_is_told(folder: Path) -> None:
    printed = flspec(folder, "export", "runs", "--to", "latex")
    written = flspec(folder, "export", "runs", "--to", "latex", "--out", "table.tex")
    assert (printed.returncode, written.returncode) == (0, 0)
    assert (folder / "table.tex").read_text(encoding="utf-8") == printed.stdout
    assert "\n3 & 0.5000 $\\pm$ 0.0000 & 0.5833 $\\pm$ 0.3819 \\\\\n" in printed.stdout
    assert "; 2 more without a readable result.}" in printed.stdout
    assert printed.stderr == written.stderr
    assert [line.split(" ")[1] for line in printed.stderr.splitlines()] == ["runs/broken/result.json:", "runs/begun"]
    assert written.stdout == "written to table.tex: 1 row of means and deviations\n"


def test_a_file_of_values_is_told_as_json(folder: Path) -> None:
    done = flspec(folder, "export", "runs/seed-0", "runs/seed-1", "--to", "parquet", "--out", "a.parquet", "--json")
    assert json.loads(done.stdout) == {"file": "a.parquet", "kind": "parquet", "what": "12 rows of 2 runs"}
    assert (folder / "a.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent", "--to", "csv"], "absent does not exist; name the folder of a run, a sweep or a certificate"),
        (["file", "--to", "csv"], "file is not a folder; name the folder of a run"),
        (["runs/begun", "--to", "csv"], "runs/begun: no run with a result here, and runs/begun has not ended"),
        (["runs/broken", "--to", "csv"], "runs/broken/result.json: not valid JSON"),
        (
            ["runs", "--to", "excel"],
            "--to: unknown 'excel'; choose one of csv, json, latex, markdown, onnx, parquet, safetensors, torch",
        ),
        (["runs"], "Missing option '--to'"),
        (["runs", "--to", "parquet"], "--out: parquet is no text; name a file to write"),
        (["runs", "--to", "csv", "--json"], "--out: --json tells what is in a file; name a file to write"),
        (["runs", "--to", "csv", "--out", "file"], "--out: file is there already; choose another name, or remove it"),
        (["runs", "--to", "csv", "--out", "no/file"], "no is no folder to write to"),
        (["runs", "--to", "csv", "--metric", "loss"], "--metric: makes no difference to csv; leave it out"),
        (["runs", "--to", "latex", "--round", "0"], "--round: '0' is no round; give last, best or a number from 1"),
        (["runs", "--to", "latex", "--metric", "los", "--out", "new"], "metric: unknown 'los'; did you mean"),
    ],
)
def test_what_is_asked_wrongly_is_told_and_leaves_nothing(folder: Path, arguments: list[str], told: str) -> None:
    (folder / "file").write_text("mine")
    before = sorted(os.listdir(folder))
    done = flspec(folder, "export", *arguments)
    assert (done.returncode, done.stdout if "--json" not in arguments else "") == (2, "")
    assert told in done.stderr.splitlines()[-1]
    assert sorted(os.listdir(folder)) == before
    assert (folder / "file").read_text() == "mine"


def test_parquet_without_pyarrow_names_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = flspec(folder, "export", "runs/seed-0", "--to", "parquet", "--out", "new")
    assert (done.returncode, "pip install 'flspec[parquet]'" in done.stderr) == (2, True)
    assert not (folder / "new").exists()
