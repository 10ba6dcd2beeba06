"""More rounds of a finished run end as an uninterrupted run of the longer plan, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError
from flspec.protocol.backend import kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result
from flspec.runs.result import load_result
from flspec.runs.runner import run
from tests.command_line import flspec
from tests.unit.runs.stopping import stop_after

MakePlan = Callable[..., Plan]
ADAM = {"kind": "fedadam", "learning_rate": 0.1}
STRIDES = {"every": 3, "best": {"metric": "accuracy"}}


def outcome(result: Result) -> dict[str, Any]:
    """All of a result but times, and what it went on from."""
    rounds = [record.model_dump(exclude={"seconds"}) for record in result.rounds]
    return {"rounds": rounds, **result.model_dump(include={"status", "plan_digest", "final", "best", "weights"})}


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("rounds", [6, 7])
def test_it_ends_as_a_run_of_the_longer_plan(make_plan: MakePlan, tmp_path: Path, rounds: int) -> None:
    sections: dict[str, Any] = {"aggregator": ADAM, "evaluation": STRIDES}
    run(make_plan(rounds=rounds, **sections), out=tmp_path / "short")
    before, longer = files_of(tmp_path / "short"), make_plan(rounds=12, **sections)
    told = list[int]()
    result = run(
        longer, out=tmp_path / "more", extend=tmp_path / "short", watch=lambda record: told.append(record.round)
    )
    assert told == [*range(7, 13)]  # the last round that both keep is the sixth
    whole = run(longer, out=tmp_path / "whole")
    assert outcome(result) == outcome(whole)
    assert load_result(tmp_path / "more") == result
    assert (result.extends, whole.extends) == (load_result(tmp_path / "short").plan_digest, None)
    rows = [(tmp_path / name / "clients.csv").read_text().splitlines() for name in ("more", "whole")]
    assert len(rows[0]) == len(rows[1])
    assert files_of(tmp_path / "short") == before


def test_a_run_that_was_stopped_goes_on_without_the_rule(make_plan: MakePlan, tmp_path: Path) -> None:
    assert len(run(make_plan(rounds=10, stop={"bytes": 1}), out=tmp_path / "short").rounds) == 1
    for rounds in (10, 11):
        result = run(make_plan(rounds=rounds), out=tmp_path / f"more{rounds}", extend=tmp_path / "short")
        assert outcome(result) == outcome(run(make_plan(rounds=rounds), out=tmp_path / f"whole{rounds}"))
    with pytest.raises(InputError, match=r"has 1 rounds, and this spec no more; give more, e\.g\. --set rounds=10"):
        run(make_plan(rounds=9), out=tmp_path / "fewer", extend=tmp_path / "short")


def test_a_run_whose_time_was_up_goes_on_counting_with_more_of_it(make_plan: MakePlan, tmp_path: Path) -> None:
    short = run(make_plan(rounds=10, stop={"seconds": 1e-6}), out=tmp_path / "short")
    again = run(make_plan(rounds=10, stop={"seconds": 1e-5}), out=tmp_path / "again", extend=tmp_path / "short")
    assert [one.round for one in again.rounds] == [one.round for one in short.rounds] == [1]  # it took longer than that
    more = run(make_plan(rounds=10, stop={"seconds": 1e6}), out=tmp_path / "more", extend=tmp_path / "short")
    assert outcome(more) == outcome(run(make_plan(rounds=10), out=tmp_path / "whole"))


def test_one_that_is_interrupted_or_begins_without_its_beginning_ends_alike(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make_plan(rounds=3), out=tmp_path / "short")
    longer = make_plan(rounds=8)
    with pytest.raises(KeyboardInterrupt):
        run(longer, out=tmp_path / "more", extend=tmp_path / "short", watch=stop_after(5))
    whole = outcome(run(longer, out=tmp_path / "whole"))
    assert outcome(run(longer, out=tmp_path / "more", resume=True)) == whole

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flspec.runs.extending.rewrite_events", killed)
    with pytest.raises(KeyboardInterrupt):
        run(longer, out=tmp_path / "killed", extend=tmp_path / "short")
    assert outcome(run(longer, out=tmp_path / "killed", resume=True)) == whole


@pytest.mark.parametrize(
    ("short", "longer", "told"),
    [
        ({}, {"seed": 1}, "its .* differ"),
        ({}, {"client": {"epochs": 2, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}}, "batches"),
        (
            {},
            {"client": {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 0.2}}},
            "client_opt",
        ),
        ({"rounds": 9}, {"rounds": 9}, "has 9 rounds, and this spec no more; give more, e.g. --set rounds=18"),
        (
            {"aggregator": ADAM | {"schedule": {"kind": "cosine"}}},
            {"aggregator": ADAM | {"schedule": {"kind": "cosine"}}},
            "differ",
        ),
    ],
)
def test_another_experiment_is_refused_before_anything_is_written(
    make_plan: MakePlan, tmp_path: Path, short: dict[str, Any], longer: dict[str, Any], told: str
) -> None:
    run(make_plan(**{"rounds": 2} | short), out=tmp_path / "short")
    with pytest.raises(InputError, match=told):
        run(make_plan(**{"rounds": 9} | longer), out=tmp_path / "more", extend=tmp_path / "short")
    assert not (tmp_path / "more").exists()


def test_one_without_a_state_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    run(make_plan(rounds=2), out=tmp_path / "short")
    for number in (1, 2):
        kept_state(tmp_path / "short", number).unlink()
    with pytest.raises(InputError, match=r"keeps no state that a longer run has, too \(evaluation.every is 1\); begin"):
        run(make_plan(rounds=4), out=tmp_path / "more", extend=tmp_path / "short")


def test_the_command_goes_on_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    assert flspec(tmp_path, "run", "spec.yaml", "--out", "short").returncode == 0
    done = flspec(tmp_path, "run", "spec.yaml", "--set", "rounds=4", "--extend", "short", "--out", "more")
    assert done.returncode == 0, done.stderr
    assert "round 3 of 4" in done.stderr
    assert "round 2 of 4" not in done.stderr
    done = flspec(tmp_path, "run", "spec.yaml", "--extend", "short", "--out", "again")
    assert done.returncode == 2
    assert "has 2 rounds, and this spec no more" in done.stderr


SPEC = """
flspec: 1
name: small
rounds: 2
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 5}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
