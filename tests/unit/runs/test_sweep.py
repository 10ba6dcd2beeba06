"""A study's cells: each in a folder of its own, done once, failing alone, and going on where they stopped."""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from flspec.core.memory import MemoryMeter
from flspec.protocol.backend import Job
from flspec.protocol.events import RoundFinished, RunAttempted
from flspec.runs.event_log import read_events
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import Standing, sweep
from flspec.runs.sweep_summary import CellRecord, Sweep, groups_of
from flspec_local import LocalBackend
from tests.processes import marked, wait_until
from tests.unit.in_process import InProcess
from tests.unit.runs.sweep_cases import MakeStudy, assert_as_alone, cohorts, contents, partitioned, weights_of

FAKES = Path(__file__).parents[2] / "fakes"
MODULE = importlib.import_module("flspec.runs.sweep")  # not the function, should the package offer it by this name


@pytest.fixture(autouse=True)
def without_collection() -> Iterator[None]:
    """An interrupt is lost where it comes in a callback of the garbage collector, such as hypothesis has."""
    gc.disable()
    yield
    gc.enable()


# ----------------------------------------------------------------------------------------------------------- to the end


def test_every_cell_is_run_as_it_would_be_alone(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    study = make_study(cohorts(2, 3))
    result = sweep(study, None, tmp_path / "sweep", jobs=2)
    assert [cell.label for cell in result.cells] == [cell.label for cell in study.cells]
    assert len(jobs) == 4
    for cell, record in zip(study.cells, result.cells, strict=True):
        alone = run(cell.spec, "local", tmp_path / cell.label)
        home = tmp_path / "sweep" / str(record.folder)
        assert (record.status, record.reused, record.error) == ("completed", False, None)
        assert record.values == cell.values
        assert weights_of(home) == weights_of(tmp_path / cell.label)
        assert alone.final
        assert record.evaluation == alone.final.evaluation
        assert (home / "spec.yaml").read_text() == cell.text
    assert Sweep.model_validate_json((tmp_path / "sweep" / "matrix.json").read_bytes()) == result


def test_the_best_round_of_every_cell_is_kept(make_study: MakeStudy, tmp_path: Path) -> None:
    metrics, best = ["loss", "accuracy"], {"metric": "accuracy"}
    study = make_study(cohorts(2), rounds=3, evaluation={"every": 1, "metrics": metrics, "best": best})
    result = sweep(study, None, tmp_path)
    for record in result.cells:
        theirs = load_result(tmp_path / str(record.folder)).best
        assert record.best
        assert theirs
        assert (record.best.round, record.best.on, record.best.metric) == (theirs.round, "test", "accuracy")
        assert record.best.evaluation == theirs.evaluation
    one, two = (record.best.evaluation["test"]["accuracy"] for record in result.cells if record.best)
    [group] = result.groups
    assert group.best["test"]["accuracy"].mean == pytest.approx((one + two) / 2)
    assert Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes()) == result


def test_a_group_has_the_mean_and_the_sample_s_standard_deviation() -> None:
    def cell(rate: float, seed: int, accuracy: float | None) -> CellRecord:
        evaluation = None if accuracy is None else {"test": {"accuracy": accuracy}}
        values: dict[str, Any] = {"lr": rate, "seed": seed}
        status: Any = "failed" if accuracy is None else "completed"
        return CellRecord(label=f"{rate} {seed}", values=values, status=status, evaluation=evaluation)

    cells = [cell(1, 0, 0.5), cell(2, 0, 0.25), cell(1, 1, 0.75), cell(2, 1, None), cell(3, 0, None), cell(1, 2, 1.0)]
    one, two, three = groups_of(cells)
    assert (one.values, one.num_runs, one.num_failures) == ({"lr": 1}, 3, 0)
    spread = one.evaluation["test"]["accuracy"]
    assert (spread.num_runs, spread.mean) == (3, 0.75)
    assert spread.sd == math.sqrt((0.25**2 + 0 + 0.25**2) / 2)
    assert (two.num_runs, two.num_failures) == (1, 1)
    assert two.evaluation["test"]["accuracy"].model_dump() == {"num_runs": 1, "mean": 0.25, "sd": None}
    assert (three.num_runs, three.num_failures, three.evaluation) == (0, 1, {})


def test_values_of_other_types_are_other_combinations() -> None:
    values: list[Any] = [1, 1.0, True, "1", [1], {"b": 1, "a": 2}]
    cells = [CellRecord(label=str(v), values={"x": v}) for v in values]
    assert len(groups_of([*cells, CellRecord(label="again", values={"x": {"a": 2, "b": 1}})])) == 6


def test_what_is_watched_adds_up(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    seen: list[Standing] = []
    study = make_study([*cohorts(2), *partitioned(70)])
    sweep(study, None, tmp_path, jobs=1, watch=seen.append)
    assert [max(standing.running.values()) for standing in seen if standing.running][:4] == [0, 1 / 3, 2 / 3, 1]
    assert [standing.num_done for standing in seen] == sorted(standing.num_done for standing in seen)
    assert seen[-1] == Standing(num_cells=4, num_done=4, num_failed=2, num_reused=0, running={})
    sweep(study, None, tmp_path, watch=seen.append)
    assert seen[-1] == Standing(num_cells=4, num_done=4, num_failed=2, num_reused=2, running={})


def test_a_signal_that_another_thread_receives_stops_a_sweep_too(make_study: MakeStudy, tmp_path: Path) -> None:
    """The system may hand it to any thread, and then nothing wakes the one that waits for the cells."""

    def watch(standing: Standing) -> None:
        if max(standing.running.values(), default=0.0) > 0.0 and not sent:
            sent.append(True)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    sent: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        sweep(make_study(cohorts(2), rounds=2000), None, tmp_path, jobs=1, watch=watch)
    cells = Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes()).cells
    assert [cell.status for cell in cells] == ["interrupted", "pending"]


def test_matrix_json_is_written_as_cells_finish(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    def watch(standing: Standing) -> None:
        document = Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes())
        if standing.running:  # the one that has just finished is told of first, and then written
            told.append((standing.num_done, sum(cell.status == "completed" for cell in document.cells)))

    told: list[tuple[int, int]] = []
    sweep(make_study(cohorts(2), seeds=(0, 1, 2), rounds=1), None, tmp_path, jobs=1, watch=watch)
    assert told == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]


@pytest.mark.parametrize(
    ("cores", "gibibytes", "num_jobs", "cores_each"), [(64, 9, 4, 16), (4, 100, 4, 1), (9, 1, 1, 9), (100, 100, 6, 16)]
)
def test_jobs_share_cores_and_memory(
    make_study: MakeStudy,
    jobs: list[Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    gibibytes: int,
    num_jobs: int,
    cores_each: int,
) -> None:
    opened: Any = []
    open_apart = MODULE.open_apart
    monkeypatch.setattr(MODULE, "open_apart", lambda *given: opened.append(open_apart(*given)) or opened[-1])
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=gibibytes * 2**30))
    sweep(make_study(cohorts(2, 3)[:1], seeds=(0, 1, 2, 3, 4, 5), rounds=1), None, tmp_path)
    assert len(opened) == num_jobs
    assert {job.cores for job in jobs} == {job.num_workers for job in jobs} == {cores_each}


# ------------------------------------------------------------------------------------------------------ again and again


def test_what_is_done_is_not_done_again(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    first = sweep(make_study(cohorts(2)), None, tmp_path)
    before = contents(tmp_path)
    jobs.clear()
    (tmp_path / "matrix.json").write_bytes(b"\0 nonsense")
    again = sweep(make_study(cohorts(2, 3)), None, tmp_path)
    assert [cell.reused for cell in again.cells] == [True, True, False, False]
    assert [cell.evaluation for cell in again.cells[:2]] == [cell.evaluation for cell in first.cells]
    assert len(jobs) == 2
    assert len(before) == 18
    assert before.items() <= contents(tmp_path).items()
    assert Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes()) == again


def test_a_changed_experiment_leaves_the_old_one_alone(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    sweep(make_study(cohorts(2)), None, tmp_path)
    before = contents(tmp_path)
    changed = sweep(make_study(cohorts(2), rounds=2), None, tmp_path)
    assert not any(cell.reused for cell in changed.cells)
    assert len(list(tmp_path.glob("*/result.json"))) == 4
    assert before.items() <= contents(tmp_path).items()


def test_a_cell_that_fails_stops_no_other(
    make_study: MakeStudy, jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steep = {"client": {"epochs": 200, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 1e6}}}
    diverges = steep | {"model": {"kind": "mlp", "hidden": [6, 6, 6]}}
    refused = "model: too beautiful", "rounds: too\x1b many"
    monkeypatch.setattr(LocalBackend, "unsupported", lambda self, plan: refused if plan.num_clients == 7 else [])
    study = make_study([*partitioned(70), diverges, *partitioned(7, 6)], seeds=(0,))
    result = sweep(study, None, tmp_path)
    impossible, diverged, unsupported, fine = result.cells
    assert [cell.status for cell in result.cells] == ["failed", "failed", "failed", "completed"]
    assert (impossible.folder, impossible.plan_digest) == (None, None)
    assert "partition.clients is 70, but there are only 60 examples" in str(impossible.error)
    assert "round 1: no client's update is finite" in str(diverged.error)
    assert load_result(tmp_path / str(diverged.folder)).status == "failed"
    assert unsupported.error == (
        "local cannot run this plan: model: too beautiful; local cannot run this plan: rounds: too\\x1b many"
    )
    assert (unsupported.folder, fine.error) == (None, None)
    assert not result.is_complete
    again = sweep(study, None, tmp_path)
    assert [cell.reused for cell in again.cells] == [False, False, False, True]
    assert [cell.error for cell in again.cells] == [cell.error for cell in result.cells]


# ---------------------------------------------------------------------------------------------------------- interrupted


def interrupt_at(share: float) -> Callable[[Standing], None]:
    """Ctrl-C, once, when one cell is done and another has got so far."""

    def watch(standing: Standing) -> None:
        if standing.num_done == 1 and not sent.is_set() and max(standing.running.values(), default=0) >= share:
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)
            assert InProcess.stop.wait(120)  # until the main thread has noticed

    sent = threading.Event()
    return watch


def test_an_interrupted_sweep_goes_on_to_the_same_bits(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    study = make_study(cohorts(3), seeds=(0, 1, 2), rounds=9, evaluation={"every": 2})
    with pytest.raises(KeyboardInterrupt):
        sweep(study, None, tmp_path, jobs=1, watch=interrupt_at(5 / 9))
    stopped = Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes())
    assert [cell.status for cell in stopped.cells] == ["completed", "interrupted", "pending"]
    assert load_result(tmp_path / str(stopped.cells[1].folder)).status == "interrupted"
    jobs.clear()
    result = sweep(study, None, tmp_path, jobs=1)
    assert [cell.reused for cell in result.cells] == [True, False, False]
    assert [job.start and job.start.name for job in jobs] == ["round_0000004.safetensors", None]
    assert_as_alone(study, result, tmp_path)
    kinds = [type(event) for event in read_events(tmp_path / str(result.cells[1].folder))]
    assert (kinds.count(RunAttempted), kinds.count(RoundFinished)) == (2, 9)


# ----------------------------------------------------------------------------------------------------- worker processes


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Fakes are installed; whatever is started has this in its environment."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(FAKES), prepend=os.pathsep)
    monkeypatch.setenv("FLSPEC_TEST", mark)
    yield mark
    for process in marked("FLSPEC_TEST", mark):
        process.kill()


@pytest.mark.timeout(240)  # they would hang for longer
def test_cells_that_hang_are_interrupted_promptly_and_leave_nothing(
    make_study: MakeStudy, tmp_path: Path, mark: str
) -> None:
    def interrupt() -> None:
        wait_until(lambda: len(marked("FLSPEC_TEST", mark)) >= 4)  # two wardens, two workers
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        sweep(make_study(cohorts(2), seeds=(0, 1, 2)), "fake:hangs_at_once", tmp_path, jobs=2)
    assert not marked("FLSPEC_TEST", mark)
    stopped = Sweep.model_validate_json((tmp_path / "matrix.json").read_bytes())
    assert [cell.status for cell in stopped.cells] == ["interrupted", "interrupted", "pending"]


def test_a_thread_keeps_its_worker_from_cell_to_cell(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: Any = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **more: started.append(given) or popen(*given, **more))
    study = make_study(cohorts(2), seeds=(0, 1))
    result = sweep(study, "local", tmp_path, jobs=1)
    assert len(started) == 1
    assert_as_alone(study, result, tmp_path)
    first, second = (load_result(tmp_path / str(cell.folder)) for cell in result.cells)
    assert first.memory["peak_bytes"] > 0
    assert second.memory["peak_bytes"] > 0
    assert (tmp_path / "worker-1.log").exists()


def test_memory_is_that_of_the_process_asked_for() -> None:
    hog = "data = bytearray(b'x') * 300_000_000; print(); input()"
    with subprocess.Popen([sys.executable, "-c", hog], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with MemoryMeter() as everything, MemoryMeter(lambda: process.pid) as theirs, MemoryMeter(lambda: None) as none:
            pass
        process.communicate(b"\n")
    assert 300_000_000 <= theirs.peak_bytes < 400_000_000
    assert everything.peak_bytes > theirs.peak_bytes
    assert none.peak_bytes == 0
    with MemoryMeter(lambda: process.pid) as ended:
        pass
    assert ended.peak_bytes == 0


def test_matrix_json_is_plain(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    sweep(make_study(cohorts(2)), None, tmp_path)
    document = json.loads((tmp_path / "matrix.json").read_text())
    assert document["schema_version"] == 1
    assert (document["name"], document["backend"]) == ("small", "local")
    assert set(document["groups"][0]["evaluation"]["test"]["loss"]) == {"num_runs", "mean", "sd"}
    assert document["cells"][1]["values"] == {"cohort": {"kind": "uniform", "size": 2}, "seed": 1}
