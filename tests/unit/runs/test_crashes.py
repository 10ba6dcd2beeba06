"""Runs, sweeps and certificates that die at any file operation go on, to the same bits; see `tests.crashes`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.comparison.certification import Certificate, certify, load_certificate
from flspec.compiler.compile import compile
from flspec.errors import BackendError, InputError
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import Event, RoundFinished
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state, save_state
from flspec.runs import event_log, folders
from flspec.runs.image_files import read_image
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import sweep
from flspec.runs.sweep_summary import CellRecord, Sweep
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend
from tests.crashes import DIED, Crashes, forked, try_points
from tests.unit.runs.sweep_cases import MakeStudy, cohorts

MakePlan = Callable[..., Plan]
ALL = pytest.mark.release("thousands of crashes, and as many recoveries; `make test` tries one in sixty")
FEW = 61  # one operation in so many, a number without a rhythm in common with rounds
LONG = pytest.mark.timeout(4 * 3600)  # seconds, on two cores that are busy otherwise
POINTS = [pytest.param(FEW, id="few"), pytest.param(1, id="all", marks=[ALL, LONG])]
# State that stays with the clients, a server optimizer, evaluation in some rounds and a best one: all that is stored.
SECTIONS: dict[str, Any] = {
    "rounds": 4,
    "client": {
        "epochs": 1,
        "batch_size": 5,
        "optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.5, "state": "kept"},
    },
    "aggregator": {"kind": "fedadam", "learning_rate": 0.05},
    "evaluation": {"every": 2, "best": {"metric": "loss"}},
}

# A grid in each evaluated round.
PICTURES = """
flspec: 1
name: pictures
rounds: 4
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged}
client: {steps: 1, batch_size: 8, objective: {kind: gan}, optimizer: {kind: adam, learning_rate: 2e-3}}
evaluation: {every: 2, generated: 9, images: {rows: 2, columns: 2}, best: {metric: kid}}
"""


class Rounded(LocalBackend):
    """Stores weights that are off by their last bit, so that it is run in lockstep, too."""

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            if isinstance(event, RoundFinished):
                path = kept_state(job.folder, event.round)
                state = load_state(path)
                off = {name: np.nextafter(value, np.float32(1)) for name, value in state.weights.items()}
                save_state(path, replace(state, weights=off), plan.digest)
            yield event


def every(step: int, first: int = 1) -> Iterator[int]:
    return itertools.count(first, step)


def outcome(folder: Path) -> dict[str, Any]:
    """All of a result that a repetition must give again."""
    result = load_result(folder)
    assert not folders.was_changed(folder)
    assert not [path for path in folder.rglob("*") if "partial" in path.name]
    for image in (image for record in result.rounds for image in record.images.values()):
        read_image(folder, image)  # raises if the file is not what the record says
    found = result.model_dump(include={"status", "plan_digest", "final", "best", "weights", "skew"})
    return found | {"rounds": [record.model_dump(exclude={"seconds"}) for record in result.rounds]}


def go_on(plan: Plan, backend: str, folder: Path) -> str:
    """Do as a user would: the same command, which says if there is more to it, and then with --resume."""
    for resume in (False, True):
        try:
            run(plan, backend, folder, workers=1, resume=resume)
            return "--resume" if resume else "the same command"
        except InputError as refusal:
            if ("is complete" if resume else "--resume") not in str(refusal):
                raise
    return "complete"


def crashing_runs(plan: Plan, backend: str, folder: Path, step: int, first: int = 1, **options: Any) -> Crashes:
    run(plan, backend, folder / "whole", workers=1)
    expected = outcome(folder / "whole")

    def check(home: Path) -> None:
        assert outcome(home) == expected

    def do(home: Path) -> None:
        run(plan, backend, home, workers=1)

    crashes = try_points(
        every(step, first), folder / "run", do, lambda home: go_on(plan, backend, home), check, **options
    )
    print(backend, crashes)
    return crashes


@pytest.mark.parametrize("step", POINTS)
def test_a_run_that_dies_goes_on_to_the_same_bits(make_plan: MakePlan, tmp_path: Path, step: int) -> None:
    crashes = crashing_runs(make_plan(**SECTIONS), "local", tmp_path, step)
    assert crashes.points > 400 / step
    assert crashes.ways["the same command"] > 0
    assert crashes.ways["--resume"] > crashes.points / 2


@pytest.mark.parametrize("step", POINTS)
def test_a_run_that_dies_among_its_pictures_goes_on_to_the_same_bits(tmp_path: Path, step: int) -> None:
    crashes = crashing_runs(compile(parse_spec(PICTURES)), "local", tmp_path, step)
    assert crashes.points > 300 / step
    assert crashes.ways["--resume"] > crashes.points / 2


def test_a_reader_that_takes_a_torn_line_for_damage_is_caught(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_lines", lambda path: path.read_bytes().splitlines(keepends=True))
    with pytest.raises(AssertionError, match="nothing goes on after point"):
        crashing_runs(make_plan(**SECTIONS), "local", tmp_path, 7, first=442)  # lines of the last round are torn there


@ALL
@LONG
@pytest.mark.parametrize(("backend", "step"), [("flower:inprocess", 1), ("flower", 5), ("tff", 3)])
def test_a_run_on_an_engine_that_dies_goes_on(make_plan: MakePlan, tmp_path: Path, backend: str, step: int) -> None:
    plan = make_plan(rounds=2, client=SECTIONS["client"] | {"optimizer": {"kind": "sgd", "learning_rate": 0.1}})
    assert crashing_runs(plan, backend, tmp_path, step).points > 100 / step


@ALL
@LONG
def test_a_run_whose_worker_dies_goes_on(make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = f"{Path(__file__).parents[2] / 'fakes' / 'dying'}:{Path(__file__).parents[3]}"
    search = f"{dying}:{os.environ.get('PYTHONPATH', '')}"

    def worker_dies(point: int, what: Callable[[], object]) -> bool:
        def with_a_mortal_worker() -> None:
            os.environ.update(PYTHONPATH=search, FLSPEC_TEST_DIES_AT=str(point))
            try:
                what()
            except BackendError as error:
                if f"exit code {DIED}" not in str(error):
                    raise
                os._exit(DIED)

        return forked(with_a_mortal_worker) == DIED

    plan = make_plan(**SECTIONS)
    assert crashing_runs(plan, "flower:inprocess", tmp_path, 1, dies=worker_dies).points > 20


@pytest.mark.parametrize("step", POINTS)
def test_a_sweep_that_dies_goes_on(make_study: MakeStudy, jobs: list[Job], tmp_path: Path, step: int) -> None:
    study = make_study(cohorts(3), **SECTIONS)

    def outcomes(folder: Path, cells: Sequence[CellRecord]) -> list[dict[str, Any]]:
        return [outcome(folder / str(cell.folder)) for cell in cells]

    def go_on(folder: Path) -> str:
        assert sweep(study, None, folder, jobs=1).is_complete
        return "the same command"

    def check(folder: Path) -> None:
        assert outcomes(folder, Sweep.model_validate_json((folder / "matrix.json").read_bytes()).cells) == expected

    expected = outcomes(tmp_path / "whole", sweep(study, None, tmp_path / "whole", jobs=1).cells)
    crashes = try_points(every(step), tmp_path / "sweep", lambda at: sweep(study, None, at, jobs=1), go_on, check)
    print("sweep", crashes)
    assert crashes.points > 900 / step


@pytest.mark.parametrize("step", POINTS)
def test_a_certificate_that_dies_is_made_again(make_plan: MakePlan, tmp_path: Path, step: int) -> None:
    plan, step = make_plan(rounds=2, cohort={"kind": "all"}), step if step == 1 else 2 * step  # it has twice as many

    def make(folder: Path) -> Certificate:
        return certify(
            plan, ["local", "other"], folder, workers=1, engines={"local": LocalBackend(), "other": Rounded()}
        )

    def go_on(folder: Path) -> str:
        try:
            make(folder)
            return "the same command"
        except InputError as refusal:
            if "not empty" not in str(refusal):
                raise
            return "complete"

    def check(folder: Path) -> None:
        assert load_certificate(folder) == expected
        assert not [path for path in folder.rglob("*") if "partial" in path.name]

    expected = make(tmp_path / "whole")
    crashes = try_points(every(step), tmp_path / "certificate", make, go_on, check)
    print("certificate", crashes)
    assert crashes.points > 1200 / step
