"""What a sweep finds in its folders: what was harmed is made good, what is not its own is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flspec.core.files import locked_folder
from flspec.errors import InputError
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import cell_folder, sweep
from tests.unit.runs.sweep_cases import MakeStudy, assert_as_alone, cohorts, contents


def damage_result(home: Path) -> None:
    (home / "result.json").write_text('{"status": "comple')


def damage_plan(home: Path) -> None:
    (home / "result.json").unlink()
    (home / "plan" / "arrays.npz").write_bytes(b"PK")


def stop_before_the_plan(home: Path) -> None:
    for path in [*home.rglob("*")][::-1]:
        path.rmdir() if path.is_dir() else path.unlink()
    (home / "plan").mkdir()
    (home / "plan" / "arrays.npz.partial").write_bytes(b"PK")


def stop_before_the_start(home: Path) -> None:
    for name in ("result.json", "events.jsonl", "spec.yaml"):
        (home / name).unlink()


def damage_weights(home: Path) -> None:
    (home / "weights.safetensors").write_bytes(b"")


def damage_everything(home: Path) -> None:
    for path in home.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-3])


def fail(home: Path) -> None:
    result = load_result(home).model_copy(update={"status": "failed", "final": None, "weights": None})
    (home / "result.json").write_text(result.model_dump_json())
    kept_state(home, 3).unlink()


@pytest.mark.parametrize(
    "harm",
    [damage_result, damage_plan, stop_before_the_plan, stop_before_the_start, damage_weights, damage_everything, fail],
)
def test_a_damaged_folder_is_made_good_and_nothing_of_others_lost(
    make_study: MakeStudy, jobs: list[Job], tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    study = make_study(cohorts(3))
    harmed, whole = sweep(study, None, tmp_path).cells
    harm(tmp_path / str(harmed.folder))
    (tmp_path / str(harmed.folder) / "notes.txt").write_text("mine")
    result = sweep(study, None, tmp_path)
    assert [cell.reused for cell in result.cells] == [False, True]
    assert_as_alone(study, result, tmp_path)
    assert (tmp_path / str(harmed.folder) / "notes.txt").read_text() == "mine"
    assert Plan.load(tmp_path / str(harmed.folder) / "plan").digest == harmed.plan_digest
    assert whole.folder


def other_backend(home: Path) -> None:
    result = load_result(home)
    info = result.backend.model_copy(update={"name": "flower"})
    (home / "result.json").write_text(result.model_copy(update={"backend": info}).model_dump_json())


def other_plan(home: Path) -> None:
    (home / "result.json").unlink()
    plan = Plan.load(home / "plan")
    Plan(replace(plan.settings, loss="other"), plan.arrays, plan.spec).save(home / "plan")


@pytest.mark.parametrize(
    ("change", "reason"), [(other_backend, "a run on flower, not local"), (other_plan, "is a run of")]
)
def test_what_somebody_else_ran_is_left_alone(
    make_study: MakeStudy, jobs: list[Job], tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    study = make_study(cohorts(2))
    home = tmp_path / str(sweep(study, None, tmp_path).cells[0].folder)
    change(home)
    before = contents(tmp_path)
    theirs, ours = sweep(study, None, tmp_path).cells
    assert (theirs.status, ours.status) == ("failed", "completed")
    assert reason in str(theirs.error)
    assert contents(tmp_path) == before


def test_one_sweep_at_a_time(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(InputError, match="another flspec is running"):
        sweep(make_study(cohorts(2)), None, tmp_path)
    assert not list(tmp_path.iterdir())
    record = sweep(make_study(cohorts(2)), None, tmp_path, jobs=1).cells[0]
    assert record.status == "completed"


def test_a_run_in_a_cell_s_folder_is_not_disturbed(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    study = make_study(cohorts(2))
    home = tmp_path / str(sweep(study, None, tmp_path).cells[0].folder)
    (home / "result.json").unlink()
    with locked_folder(home):
        busy, free = sweep(study, None, tmp_path).cells
    assert "another flspec is running" in str(busy.error)
    assert free.reused


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [("nobody", {}, "unknown 'nobody'"), ("local:odd", {}, "no variant"), (None, {"jobs": -1}, "jobs is -1")],
)
def test_what_cannot_be_run_writes_nothing(
    make_study: MakeStudy, tmp_path: Path, backend: str | None, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sweep(make_study(cohorts(2)), backend, tmp_path / "sweep", **options)
    assert not (tmp_path / "sweep").exists()


def test_folders_that_cannot_be_a_sweep_s_are_refused(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    study = make_study(cohorts(2))
    run(study.cells[0].spec, "local", tmp_path / "run")
    (tmp_path / "file").touch()
    (tmp_path / "odd" / "matrix.json").mkdir(parents=True)
    for name, message in [("run", "a single run"), ("file", "cannot be made"), ("odd", "cannot be written")]:
        with pytest.raises(InputError, match=message):
            sweep(study, None, tmp_path / name)


@pytest.mark.parametrize(
    "label",
    ["", ".", "..", "../../etc/passwd", "a/b", "a:b", "-rf", "x" * 1000, "y" * 999 + "é", "é", "\n\0", "~", "a b"],
)
def test_a_cell_s_folder_has_a_harmless_name_of_its_own(label: str, tmp_path: Path) -> None:
    name = cell_folder(label, "0123456789abcdef")
    assert name.endswith("-01234567")
    assert len(name.encode()) <= 255
    assert not name.startswith((".", "-"))
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    others = ["a-b", "a_b", "b", "x" * 999, "y" * 1000, "e", "-", "alpha=0.1,seed=0"]
    assert len({cell_folder(other, "0123456789abcdef") for other in [label, *others]}) == len(others) + 1


def test_a_tame_label_is_kept_as_it_is() -> None:
    assert cell_folder("alpha=0.1,seed=0", "0123456789abcdef") == "alpha=0.1,seed=0-01234567"
