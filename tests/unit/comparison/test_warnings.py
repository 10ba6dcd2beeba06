"""What is told of finished runs before they are believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flspec.comparison.results import compare
from flspec.protocol.plan import Plan
from flspec.report import write_comparison_report
from flspec.runs.folders import was_changed
from flspec.runs.runner import run
from tests.command_line import flspec

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def runs(make_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a", "b"):
        run(make_plan(evaluation={"metrics": ["loss", "accuracy", "macro_f1"]}), out=folder / name)
    return folder / "a", folder / "b"


def edited(folder: Path, edit: Edit, copy: Path, with_events: bool) -> Path:
    """A copy of a run's folder in which somebody has edited the result."""
    copy.mkdir()
    for name in ("result.json", "weights.safetensors", *(["events.jsonl"] if with_events else [])):
        (copy / name).write_bytes((folder / name).read_bytes())
    document = json.loads((copy / "result.json").read_text())
    edit(document)
    (copy / "result.json").write_text(json.dumps(document))
    return copy


def of_the_test_set(metric: str, value: float) -> Edit:
    return lambda document: document["final"]["evaluation"]["test"].update({metric: value})


def test_equal_runs_are_compared_without_a_word(runs: tuple[Path, Path]) -> None:
    assert compare(runs).warnings == []
    assert not was_changed(runs[0])


@pytest.mark.parametrize("edit", [of_the_test_set("accuracy", 0.9917), of_the_test_set("macro_f1", 0.0)])
def test_an_edited_metric_is_told_even_where_there_are_no_events(
    runs: tuple[Path, Path], tmp_path: Path, edit: Edit
) -> None:
    copy = edited(runs[1], edit, tmp_path / "copy", with_events=False)
    (warning,) = compare([runs[0], copy]).warnings
    assert f"{copy} has the plan and the weights of {runs[0]}, but other metrics: test " in warning


def test_any_edit_is_told_where_there_are_events(runs: tuple[Path, Path], tmp_path: Path) -> None:
    copy = edited(runs[0], lambda document: document.update(started="yesterday"), tmp_path / "copy", with_events=True)
    assert compare([copy]).warnings == [
        f"{copy}: result.json is not as the run wrote it; it was changed since, so do not rely on it"
    ]


def test_rounding_of_another_machine_is_no_edit(runs: tuple[Path, Path], tmp_path: Path) -> None:
    loss = json.loads((runs[0] / "result.json").read_text())["final"]["evaluation"]["test"]["loss"]
    copy = edited(runs[0], of_the_test_set("loss", loss * (1 + 1e-9)), tmp_path / "copy", with_events=False)
    assert compare([runs[0], copy]).warnings == []


def test_the_command_and_the_page_tell_it(runs: tuple[Path, Path], tmp_path: Path) -> None:
    copy = edited(runs[0], of_the_test_set("accuracy", 0.9917), tmp_path / "copy", with_events=True)
    done = flspec(tmp_path, "compare", str(runs[0]), str(copy))
    assert done.returncode == 0
    told = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert ["result.json is not as" in told[0], "but other metrics: test accuracy" in told[1]] == [True, True]
    page = write_comparison_report(compare([runs[0], copy]), tmp_path / "r.html").read_text()
    assert "same plan, with a warning" in page
    assert "but other metrics: test accuracy" in page
    document = json.loads(flspec(tmp_path, "compare", str(runs[0]), str(copy), "--json").stdout)
    assert len(document["warnings"]) == 2
