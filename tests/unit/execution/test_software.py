"""What carries out a run is recorded, and a run is not mixed of two."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from flspec.comparison.results import compare
from flspec.core.components import Document
from flspec.errors import InputError
from flspec.execution import software
from flspec.execution.software import code_digest, software_differences, software_of
from flspec.protocol.events import RunAttempted, Software
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.runs.event_log import read_events
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import sweep
from flspec_local import LocalBackend
from tests.unit.runs.stopping import stop_after
from tests.unit.runs.sweep_cases import MakeStudy, cohorts

MakePlan = Callable[..., Plan]
Forget = Callable[[], None]


@pytest.fixture
def afresh() -> Iterator[Callable[[], None]]:
    """Forgets what this process has found out, as a new process does; also at the end."""

    def forget() -> None:
        software._software_of.cache_clear()
        code_digest.cache_clear()

    yield forget
    forget()


def change(monkeypatch: pytest.MonkeyPatch, afresh: Forget, package: str = "flspec_torch") -> None:
    """Has a package be of other code, as after somebody edited it."""
    usual = code_digest
    monkeypatch.setattr(software, "code_digest", lambda name: "f" * 16 if name == package else usual(name))
    software._software_of.cache_clear()


@pytest.mark.parametrize(
    ("backend", "versions", "packages"),
    [
        ("local", {"torch"}, {"flspec_local", "flspec_torch"}),
        ("flower", {"torch", "flwr", "ray"}, {"flspec_local", "flspec_torch", "flspec_flower"}),
        ("flower:inprocess", {"torch", "flwr"}, {"flspec_local", "flspec_torch", "flspec_flower"}),
        ("tff", {"torch", "environment"}, {"flspec_local", "flspec_torch", "flspec_tff"}),
    ],
)
def test_versions_and_code_are_of_flspec_the_engine_and_what_scores(
    backend: str, versions: set[str], packages: set[str]
) -> None:
    found = software_of(find_backend(backend))
    assert set(found.versions) == {"flspec", "python", "numpy", *versions}
    assert set(found.sources) == {"flspec", *packages}
    assert found.versions["torch"] == version("torch")


def test_the_code_of_a_package_is_all_its_files_of_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: Forget
) -> None:
    (tmp_path / "a_backend" / "inner").mkdir(parents=True)
    files = [tmp_path / "a_backend" / name for name in ("__init__.py", "inner/rate.py", "fast.so")]
    for file in files:
        file.write_text("rate = 1.0\n")
    (tmp_path / "a_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    seen = {code_digest("a_backend")}
    for file in files:
        file.write_text("rate = 1.003\n")
        afresh()
        seen.add(code_digest("a_backend"))
    files[1].rename(files[1].with_name("pace.py"))
    afresh()
    seen.add(code_digest("a_backend"))
    assert len(seen) == 5
    last = code_digest("a_backend")
    (tmp_path / "a_backend" / "__pycache__").mkdir()
    (tmp_path / "a_backend" / "notes.txt").write_text("not code")
    afresh()
    assert code_digest("a_backend") == last
    assert code_digest("a_module")
    assert code_digest("nobody_has_this") is code_digest("sys") is None
    assert "a_backend" not in sys.modules


def test_only_what_both_name_can_differ() -> None:
    ours = Software(versions={"torch": "2.5", "flwr": "1.4"}, sources={"flspec": "a" * 16, "mine": "b" * 16})
    theirs = Software(versions={"torch": "2.4"}, sources={"flspec": "c" * 16, "other": "d" * 16})
    assert software_differences(theirs, ours) == ["torch 2.4 and 2.5", "code of flspec cccccccc and aaaaaaaa"]
    assert software_differences(ours, ours) == software_differences(None, ours) == []


def test_a_run_goes_on_with_other_code_only_if_told_to(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: Forget
) -> None:
    plan, folder = make_plan(rounds=4), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=folder, watch=stop_after(2))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    change(monkeypatch, afresh)
    with pytest.raises(InputError, match=r"other software.*code of flspec_torch \w{8} and ffffffff.*--anyway"):
        run(plan, out=folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=folder, resume=True, anyway=True, watch=stop_after(3))
    result = run(plan, out=folder, resume=True)  # the last attempt was of the same code: no need to insist
    assert result.software
    assert [one.sources["flspec_torch"] == "f" * 16 for one in (*result.earlier, result.software)] == [False, True]
    assert load_result(folder) == result
    (warning,) = compare([folder]).warnings
    assert "was begun by other software than it was ended by: code of flspec_torch" in warning


def test_a_run_without_a_round_begins_with_whatever_code(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: Forget
) -> None:
    plan = make_plan()
    monkeypatch.setattr(LocalBackend, "execute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run")
    monkeypatch.undo()
    change(monkeypatch, afresh)
    assert run(plan, out=tmp_path / "run", resume=True).status == "completed"


def test_the_first_event_has_the_software(make_plan: MakePlan, tmp_path: Path) -> None:
    run(make_plan(), out=tmp_path / "run")
    first = next(read_events(tmp_path / "run"))
    assert isinstance(first, RunAttempted)
    assert first.software == software_of(find_backend("local"))


def test_a_sweep_counts_cells_of_other_code_and_begins_unfinished_ones_again(
    make_study: MakeStudy,
    jobs: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    afresh: Forget,
) -> None:
    study = make_study(cohorts(2, 3), seeds=(0,), rounds=4)
    done, unfinished = (tmp_path / str(cell.folder) for cell in sweep(study, None, tmp_path).cells)
    (unfinished / "result.json").unlink()
    change(monkeypatch, afresh)
    reused, again = sweep(study, None, tmp_path).cells
    assert reused.reused
    assert "code of flspec_torch" in reused.other_software[0]
    assert (again.reused, again.other_software) == (False, ())
    assert load_result(unfinished).earlier == ()
    attempts = [event for event in read_events(unfinished) if isinstance(event, RunAttempted)]
    assert [one.software.sources["flspec_torch"] for one in attempts] == ["f" * 16]
    assert load_result(done).software != load_result(unfinished).software


def test_runs_of_other_software_are_compared_with_a_warning(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: Forget
) -> None:
    run(make_plan(), out=tmp_path / "a")
    assert compare([tmp_path / "a", tmp_path / "a"]).warnings == []
    change(monkeypatch, afresh)
    run(make_plan(), out=tmp_path / "b")
    (warning,) = compare([tmp_path / "a", tmp_path / "b"]).warnings
    assert warning.startswith(f"{tmp_path / 'b'} was run by other software than {tmp_path / 'a'}")
    assert isinstance(load_result(tmp_path / "a").software, Document)
