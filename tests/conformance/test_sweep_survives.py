"""A sweep that is killed half-way goes on with the same command: what was done stays, the rest comes out the same."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from flspec.errors import InputError
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.spec.study import load_study
from tests.processes import marked, wait_until

MARK = "FLSPEC_TEST_MARK"
SPEC = """
flspec: 1
name: to-be-killed
rounds: 6
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 10, alpha: 0.5, min_examples: 5}
model: {kind: mlp, hidden: [32]}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 4}
aggregator: {kind: fedadam, learning_rate: 0.01}
evaluation: {every: 2}
matrix:
  axes:
    client.optimizer.learning_rate: [0.01, 0.05, 0.1]
    partition.alpha: [0.1, 1.0]
  seeds: [0, 1, 2]
"""


@pytest.fixture
def mark() -> Iterator[str]:
    """In the environment of all that a test starts."""
    mark = secrets.token_hex(8)
    yield mark
    for process in marked(MARK, mark):
        process.kill()


def launch(folder: Path, mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "flspec", "run", "spec.yaml", "--out", "out", "--json"],
        cwd=folder,
        env=os.environ | {MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def completed(folder: Path) -> list[Path]:
    """The folders of the cells that are done."""
    found = []
    for path in folder.glob("out/*/result.json"):
        with suppress(InputError):
            found += [path.parent] if load_result(path.parent).status == "completed" else []
    return found


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    killed = launch(tmp_path, mark)
    wait_until(lambda: len(completed(tmp_path)) >= 8)
    assert len(marked(MARK, mark)) >= 3  # flspec, a warden, a worker
    killed.kill()
    killed.communicate()
    wait_until(lambda: not marked(MARK, mark))

    done = completed(tmp_path)
    assert 8 <= len(done) < 18
    files = [path for folder in done for path in folder.rglob("*") if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert len(before) >= 8 * len(done)
    half_done = [path.parent for path in tmp_path.glob("out/*/events.jsonl") if path.parent not in done]

    again = launch(tmp_path, mark)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    cells = json.loads(output)["cells"]
    assert {cell["status"] for cell in cells} == {"completed"}
    assert {cell["folder"] for cell in cells if cell["reused"]} == {folder.name for folder in done}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == before
    wait_until(lambda: not marked(MARK, mark))

    folders = {cell["label"]: tmp_path / "out" / cell["folder"] for cell in cells}
    study = load_study("spec.yaml")
    spots = [cell for cell in study.cells if folders[cell.label] in half_done] + [study.cells[0], study.cells[-1]]
    print(f"{len(done)} done, {len(half_done)} half done")
    for cell in spots:
        alone = run(cell.spec, "local", tmp_path / "alone" / cell.label, source=cell.text)
        swept = load_result(folders[cell.label])
        assert alone.weights == swept.weights
        assert [record.evaluation for record in alone.rounds] == [record.evaluation for record in swept.rounds]
        assert (folders[cell.label] / "spec.yaml").read_text() == cell.text
