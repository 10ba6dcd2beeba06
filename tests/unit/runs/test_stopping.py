"""A run ends where its `stop` says, says why, and goes on counting where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result
from flspec.runs.result import load_result
from flspec.runs.resuming import forget_newer_states
from flspec.runs.runner import execute_plan, run
from flspec.runs.stopping import Stopping
from flspec.runs.stored_models import stored_model
from flspec_local import LocalBackend
from tests.command_line import flspec
from tests.unit.runs.stopping import stop_after

MakePlan = Callable[..., Plan]
BEST = {"every": 2, "best": {"metric": "accuracy"}}


def patient_end(result: Result, patience: int) -> int:
    """The round at which a whole run would have ended, found from its values alone."""
    values = [(one.round, one.evaluation["test"]["accuracy"]) for one in result.rounds if one.evaluation]
    best, since = float("-inf"), 0
    for number, value in values:
        best, since = (value, 0) if value > best else (best, since + 1)
        if since == patience:
            return number
    return values[-1][0]


def records_of(result: Result) -> list[dict[str, object]]:
    return [record.model_dump(exclude={"seconds"}) for record in result.rounds]


@pytest.fixture(scope="module")
def whole(make_plan: MakePlan, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run(make_plan(rounds=40, evaluation=BEST), out=tmp_path_factory.mktemp("stop") / "whole")


@pytest.mark.parametrize("patience", [1, 3])
def test_it_ends_when_its_patience_does(make_plan: MakePlan, tmp_path: Path, whole: Result, patience: int) -> None:
    plan, end = make_plan(rounds=40, evaluation=BEST, stop={"patience": patience}), patient_end(whole, patience)
    assert 2 < end < 40
    result = run(plan, out=tmp_path / "run")
    assert (result.status, len(result.rounds)) == ("completed", end)
    assert result.stopped is not None
    assert (result.stopped.round, result.stopped.planned, result.stopped.by) == (end, 40, "patience")
    assert result.stopped.reproducible
    assert result.stopped.why.startswith(f"{patience} evaluated rounds in a row had no better test accuracy than")
    assert records_of(result) == records_of(whole)[:end]
    assert result.final is not None
    assert result.final.confusion  # as of any last round
    assert stored_model(tmp_path / "run", plan, result).round == end
    assert load_result(tmp_path / "run") == result


def test_only_rounds_in_a_row_count_for_patience(make_plan: MakePlan) -> None:
    stopping = Stopping(make_plan(rounds=9, evaluation={"best": {"metric": "accuracy"}}, stop={"patience": 3}))
    for number, is_better in enumerate([True, False, False, True, False, False], start=1):
        stopping.see(number, 0, is_better)
        assert stopping.stopped is None
    stopping.see(7, 0, False)
    assert stopping.stopped is not None
    assert stopping.stopped.round == 7


@pytest.mark.parametrize("stopped_after", [1, 4])
def test_one_that_was_interrupted_ends_where_a_whole_one_does(
    make_plan: MakePlan, tmp_path: Path, whole: Result, stopped_after: int
) -> None:
    plan = make_plan(rounds=40, evaluation=BEST, stop={"patience": 3})
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run", watch=stop_after(stopped_after))
    result = run(plan, out=tmp_path / "run", resume=True)
    assert len(result.rounds) == patient_end(whole, 3)


def test_one_that_was_interrupted_at_its_end_trains_no_more(make_plan: MakePlan, tmp_path: Path, whole: Result) -> None:
    plan, end = make_plan(rounds=40, evaluation=BEST, stop={"patience": 1}), patient_end(whole, 1)
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run", watch=stop_after(end))
    result = run(plan, out=tmp_path / "run", resume=True)
    assert (result.status, len(result.rounds)) == ("completed", end)


def test_it_ends_when_so_many_bytes_were_sent(make_plan: MakePlan, tmp_path: Path, whole: Result) -> None:
    a_round = whole.rounds[0].bytes_down + whole.rounds[0].bytes_up
    result = run(make_plan(rounds=40, evaluation={"every": 2}, stop={"bytes": 5 * a_round}), out=tmp_path / "run")
    assert len(result.rounds) == 6  # the first evaluated one by which five rounds' were sent
    assert result.stopped is not None
    assert result.stopped.why == f"{6 * a_round:,} bytes were sent, of at most {5 * a_round:,}"
    more = run(make_plan(rounds=40, evaluation={"every": 2}, stop={"bytes": 6 * a_round + 1}), out=tmp_path / "more")
    assert len(more.rounds) == 8


def test_a_wall_clock_is_no_part_of_the_plan_and_the_result_says_so(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(rounds=40, stop={"seconds": 1e-6})
    assert plan.digest == make_plan(rounds=40).digest
    result = run(plan, out=tmp_path / "run")
    assert len(result.rounds) == 1
    assert result.stopped is not None
    assert (result.stopped.by, result.stopped.reproducible) == ("seconds", False)
    assert "another run of this plan may end elsewhere" in result.stopped.why
    assert run(make_plan(rounds=3, stop={"seconds": 1e6}), out=tmp_path / "long").stopped is None


def test_earlier_attempts_count_for_the_wall_clock(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(rounds=40, stop={"seconds": 1e-3})
    monkeypatch.setattr("flspec.runs.stopping.perf_counter", lambda: 0.0)  # no time passes in this attempt
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run", watch=stop_after(3))
    result = run(plan, out=tmp_path / "run", resume=True)
    assert sum(sum(record.seconds.values()) for record in result.rounds) >= 1e-3
    assert result.stopped is not None
    assert (result.stopped.round, len(result.rounds)) == (3, 3)


def test_what_is_part_of_the_experiment_is_in_the_digest(make_plan: MakePlan) -> None:
    plain, best = make_plan(), make_plan(evaluation=BEST)
    assert len({plain.digest, make_plan(stop={"bytes": 10**6}).digest, make_plan(stop={"bytes": 10**7}).digest}) == 3
    assert make_plan(evaluation=BEST, stop={"patience": 2}).digest != best.digest


def test_a_certificates_runs_take_every_round(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    plan = make_plan(rounds=4, stop={"bytes": 1})
    result = execute_plan(LocalBackend(), "local", plan, Job(tmp_path / "run", keep="all"))
    assert (len(result.rounds), result.stopped) == (4, None)


def test_states_of_an_engine_that_was_ahead_are_forgotten(tmp_path: Path) -> None:
    for number in range(1, 6):
        kept_state(tmp_path, number).parent.mkdir(exist_ok=True)
        kept_state(tmp_path, number).touch()
    forget_newer_states(tmp_path, 3)
    assert [number for number in range(1, 6) if kept_state(tmp_path, number).exists()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("stop", "told"),
    [
        ("{patience: 2}", "stop.patience: waits for a better round; say by which metric, e.g. evaluation.best"),
        ("{}", "stop: says nothing; give patience, bytes or seconds"),
        ("{seconds: 0}", "stop.seconds: expected a number above 0, got 0"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(tmp_path: Path, stop: str, told: str) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = flspec(tmp_path, "validate", "spec.yaml", "--set", f"stop={stop}")
    assert done.returncode == 2
    assert told in done.stderr, done.stderr


SPEC = """
flspec: 1
name: small
rounds: 3
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 5}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
