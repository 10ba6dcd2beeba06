"""Studies for the tests of sweeps, run in this process, and downloads of pictures that may be damaged."""

from __future__ import annotations

import importlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flspec.core.randomness import Stream
from flspec.data.synthetic.twins import TwinSize
from flspec.execution.remote import Limits
from flspec.protocol.backend import Job
from flspec.spec.spec import Spec
from flspec.spec.study import Cell, Study
from tests.unit.image_damage import SOUND
from tests.unit.in_process import InProcess


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Sweeps run in this process; these jobs."""
    monkeypatch.setattr(InProcess, "jobs", [])
    module = importlib.import_module("flspec.runs.sweep")  # not the function, should the package offer it by this name

    def open_here(selection: str, limits: Limits, log: Path, stop: threading.Event) -> InProcess:
        monkeypatch.setattr(InProcess, "stop", stop)
        return InProcess()

    monkeypatch.setattr(module, "open_apart", open_here)
    return InProcess.jobs


@pytest.fixture
def make_study(make_spec: Callable[..., Spec]) -> Callable[..., Study]:
    """`make_study([{"rounds": 2}, ...], seeds=(0, 1), **sections)`."""

    def make(settings: list[dict[str, Any]], seeds: tuple[int, ...] = (0, 1), **sections: Any) -> Study:
        cells = []
        for values in ({**setting, "seed": seed} for setting in settings for seed in seeds):
            label = ",".join(f"{name}={value}" for name, value in values.items()).replace(" ", "")
            cells.append(Cell(label, values, make_spec(**sections, **values), f"# {label}\n"))
        return Study("small", "local", tuple(cells), is_matrix=True)

    return make


@pytest.fixture(scope="session")
def image_twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with forty pictures of each kind."""
    root = tmp_path_factory.mktemp("twins")
    for dataset in SOUND:
        (root / dataset.kind).mkdir()
        dataset.write_twin(root / dataset.kind, TwinSize(clients=10, examples=40), Stream(0))
    return root


@pytest.fixture
def copied(image_twins: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """`copied(FLAIR)` is the folder of that data set, for this test alone."""
    return lambda dataset: Path(shutil.copytree(image_twins / dataset.kind, tmp_path / dataset.kind))
