"""What the tests of sweeps share: studies, cells as they are run alone, and what lies in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep_summary import Sweep
from flspec.spec.study import Study

MakeStudy = Callable[..., Study]


def cohorts(*sizes: int) -> list[dict[str, Any]]:
    return [{"cohort": {"kind": "uniform", "size": size}} for size in sizes]


def partitioned(*clients: int) -> list[dict[str, Any]]:
    return [{"partition": {"kind": "iid", "clients": number}} for number in clients]


def weights_of(folder: Path) -> str:
    weights = load_result(folder).weights
    assert weights
    return weights.sha256


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*/**/*") if path.is_file()}


def assert_as_alone(study: Study, result: Sweep, folder: Path) -> None:
    assert result.is_complete, result
    for cell, record in zip(study.cells, result.cells, strict=True):
        run(cell.spec, "local", folder / "alone" / cell.label)
        assert weights_of(folder / str(record.folder)) == weights_of(folder / "alone" / cell.label)
