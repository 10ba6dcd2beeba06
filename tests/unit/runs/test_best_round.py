"""The best round of a run: its model and what it was worth, the same however often the run was interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.settings import BestSettings
from flspec.protocol.state import ServerState, load_state, load_weights
from flspec.runs import runner
from flspec.runs.evaluation import Evaluator
from flspec.runs.result import Result, RoundRecord, load_result
from flspec.runs.resuming import forget_old_states
from flspec.runs.runner import execute_plan, run
from flspec_local import LocalBackend

MakePlan = Callable[..., Plan]


@pytest.fixture(scope="module")
def plan(make_plan: MakePlan) -> Plan:
    """Steps so long that the model gets better and worse in turn: test loss is least in round 10 of 12."""
    return make_plan(
        rounds=12,
        aggregator={"kind": "fedavg", "learning_rate": 3.0},
        client={"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.3}},
        evaluation={"every": 2, "best": {"metric": "loss"}},
    )


@pytest.fixture(scope="module")
def whole(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(plan, out=folder), folder


def interrupt(plan: Plan, folder: Path, after: int, resume: bool = False) -> None:
    def watch(record: RoundRecord) -> None:
        if record.round == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, out=folder, watch=watch, resume=resume)


def best_bytes(folder: Path) -> bytes:
    return (folder / "best.safetensors").read_bytes()


def test_the_best_round_is_the_evaluated_one_of_least_loss(plan: Plan, whole: tuple[Result, Path]) -> None:
    result, folder = whole
    losses = {r.round: r.evaluation["test"]["loss"] for r in result.rounds if r.evaluation}
    assert sorted(losses) == [2, 4, 6, 8, 10, 12]
    best = result.best
    assert best is not None
    assert (best.round, best.value) == (10, min(losses.values()))
    assert losses[10] < losses[12]  # not the last
    assert (best.metric, best.on) == ("loss", "test")
    assert best.evaluation == result.rounds[9].evaluation
    assert load_result(folder) == result


def test_the_best_model_is_what_it_is_said_to_be_worth(plan: Plan, whole: tuple[Result, Path], tmp_path: Path) -> None:
    result, folder = whole
    assert result.best is not None
    measured = Evaluator(plan)(ServerState(10, load_weights(folder / "best.safetensors")))
    assert measured.values == result.best.evaluation
    assert measured.confusion == result.best.confusion
    last = Evaluator(plan)(ServerState(12, load_weights(folder / "weights.safetensors")))
    assert last.values == result.final.evaluation  # type: ignore[union-attr]
    assert last.confusion == result.final.confusion  # type: ignore[union-attr]

    execute_plan(LocalBackend(), "local", plan, Job(tmp_path, keep="all"))
    tenth = load_state(kept_state(tmp_path, 10), plan.digest).weights
    saved = load_weights(folder / "best.safetensors")
    assert all(np.array_equal(saved[name], tenth[name]) for name in tenth)


@pytest.mark.parametrize("stops", [(1,), (3,), (6,), (8,), (9,), (10,), (11,), (3, 7, 11)])
def test_an_interrupted_run_has_the_same_best_byte_for_byte(
    plan: Plan, whole: tuple[Result, Path], tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for number, stop in enumerate(stops):
        interrupt(plan, tmp_path / "run", stop, resume=number > 0)
    result = run(plan, out=tmp_path / "run", resume=True)
    assert result.best == whole[0].best
    assert best_bytes(tmp_path / "run") == best_bytes(whole[1])


def test_an_interrupted_run_tells_the_best_so_far(plan: Plan, whole: tuple[Result, Path], tmp_path: Path) -> None:
    interrupt(plan, tmp_path / "run", 9)
    best = load_result(tmp_path / "run").best
    assert best is not None
    assert best.round == 6
    assert best.weights is not None
    assert best.evaluation == whole[0].rounds[5].evaluation


@pytest.mark.parametrize("damaged", [[8], [6], [8, 6]], ids=str)
def test_damaged_states_are_passed_over_and_the_best_is_found_again(
    plan: Plan, whole: tuple[Result, Path], tmp_path: Path, damaged: list[int]
) -> None:
    """After round 9, a run goes on from round 8, and round 6 is the best so far."""
    interrupt(plan, tmp_path / "run", 9)
    for number in damaged:
        state = kept_state(tmp_path / "run", number)
        state.write_bytes(state.read_bytes()[:-1])
    result = run(plan, out=tmp_path / "run", resume=True)
    assert result.best == whole[0].best
    assert best_bytes(tmp_path / "run") == best_bytes(whole[1])


def test_a_state_that_was_forgotten_would_be_missed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracy is best in round 2, ten rounds before the end: were its state not spared, its model would be gone."""
    evaluation = dataclasses.replace(plan.settings.evaluation, best=BestSettings("accuracy", "test"))
    early = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, evaluation=evaluation))
    kept = run(early, out=tmp_path / "kept")
    monkeypatch.setattr(runner, "forget_old_states", lambda folder, number, _: forget_old_states(folder, number))
    lost = run(early, out=tmp_path / "lost")
    assert kept.best is not None
    assert kept.best.round == 2
    assert kept.best.weights is not None
    assert kept.best.confusion != kept.final.confusion  # type: ignore[union-attr]
    assert lost.best == kept.best.model_copy(update={"weights": None})
    assert not (tmp_path / "lost" / "best.safetensors").exists()


def test_no_best_is_kept_where_none_is_asked_for(make_plan: MakePlan, tmp_path: Path) -> None:
    assert run(make_plan(), out=tmp_path / "run").best is None
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_a_round_chosen_by_the_test_examples_is_told_with_a_note(
    make_plan: MakePlan, whole: tuple[Result, Path], tmp_path: Path
) -> None:
    assert whole[0].best is not None
    assert "flatter the model" in str(whole[0].best.note)
    plan = make_plan(
        partition={"kind": "iid", "clients": 5, "holdout": 0.25},
        evaluation={"metrics": ["accuracy"], "best": {"metric": "accuracy", "on": "clients/mean"}},
    )
    best = run(plan, out=tmp_path / "run").best
    assert best is not None
    assert best.note is None


def test_states_of_the_best_rounds_are_left(tmp_path: Path) -> None:
    for number in range(1, 8):
        kept_state(tmp_path, number).parent.mkdir(exist_ok=True)
        kept_state(tmp_path, number).touch()
    forget_old_states(tmp_path, 6, [1, 3])
    assert [number for number in range(1, 8) if kept_state(tmp_path, number).exists()] == [1, 3, 5, 6, 7]
