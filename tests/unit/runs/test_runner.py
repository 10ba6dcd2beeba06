"""A run's folder and result, however it ends, and going on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.analysis.description import plan_skew
from flspec.data.examples import Data, Split
from flspec.data.store import store_data
from flspec.errors import BackendError, InputError, PlanViolation, RunError
from flspec.execution.rounds import RoundResult, drive_rounds, round_result
from flspec.execution.server_step import finish_round
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import Event, RoundEvaluated, RoundFinished, RunEnded, RunFinished, RunStarted
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state, load_weights
from flspec.runs.event_log import read_events
from flspec.runs.result import Result, RoundRecord, load_result
from flspec.runs.resuming import forget_old_states
from flspec.runs.runner import execute_plan, run
from flspec_local import LocalBackend
from flspec_torch.training import Trainer
from tests.plan_settings import settings_with
from tests.unit.runs.stopping import stop_after

MakePlan = Callable[..., Plan]
STEEP = {"epochs": 1, "batch_size": 5, "optimizer": {"kind": "sgd", "learning_rate": 1e6}}


@pytest.fixture(scope="module")
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(
        rounds=7, evaluation={"every": 2}, aggregator={"kind": "fedadam", "learning_rate": 0.1}, name="seven"
    )


def test_states_that_a_backend_kept_ahead_of_its_reports_are_left_alone(tmp_path):
    for number in range(1, 8):
        kept_state(tmp_path, number).parent.mkdir(exist_ok=True)
        kept_state(tmp_path, number).touch()
    forget_old_states(tmp_path, 4)
    assert [number for number in range(1, 8) if kept_state(tmp_path, number).exists()] == [3, 4, 5, 6, 7]


def test_a_run_folder_holds_what_it_promises(plan: Plan, tmp_path: Path) -> None:
    result = run(plan, out=tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    files = {"spec.yaml", "events.jsonl", "result.json", "weights.safetensors", "clients.csv"}
    assert names == {*files, "plan", "checkpoints"}
    assert load_result(tmp_path / "run") == result
    assert Plan.load(tmp_path / "run" / "plan").digest == plan.digest == result.plan_digest


def test_a_result_has_the_fields_that_others_rely_on(plan: Plan, tmp_path: Path) -> None:
    run(plan, out=tmp_path / "run")
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert document["schema_version"] == 1
    assert document["status"] == "completed"
    assert document["name"] == "seven"
    assert document["seed"] == 0
    assert document["backend"]["name"] == "local"
    assert "torch" in document["backend"]["versions"]
    assert document["environment"]["flspec"]
    assert document["seconds"]["total"] >= document["seconds"]["startup"] >= 0
    assert document["overhead"]["startup"] == document["seconds"]["startup"]
    whole = sum(document["rounds"][1]["seconds"][stage] for stage in ("train", "aggregate"))
    assert 0 < document["overhead"]["client"] < document["overhead"]["round"] < 100 * whole
    assert document["memory"]["peak_bytes"] > 0
    assert [entry["round"] for entry in document["rounds"]] == list(range(1, 8))
    second = document["rounds"][1]
    parameter_bytes = 4 * sum(weight.size for weight in plan.weights.values())
    assert second["bytes_down"] == second["bytes_up"] == 3 * parameter_bytes
    assert second["num_examples"] == sum(len(plan.client_examples(client)) for client in second["cohort"])
    assert set(second["train"]) == set(second["evaluation"]["test"]) == {"loss", "accuracy"}
    assert set(second["seconds"]) == {"train", "aggregate", "evaluate"}
    assert second["epsilon"] is None
    assert document["rounds"][0]["evaluation"] is None  # evaluated every second round, and at the end
    assert document["final"]["evaluation"] == document["rounds"][6]["evaluation"]


def test_a_result_says_how_much_its_clients_differ_if_an_example_has_one_label(make_plan, tmp_path: Path) -> None:
    alike = {"kind": "by_label", "clients": 3}
    result = run(make_plan(partition=alike, cohort={"kind": "all"}), "local", tmp_path / "run")
    assert result.skew is not None
    assert result.skew.emd.mean == pytest.approx(4 / 3)  # one label of three each
    assert load_result(tmp_path / "run").skew == result.skew
    without = result.model_dump(exclude={"skew"}) | {"rounds": result.rounds}
    assert Result.model_validate(without).skew is None  # of before there was one

    labels = np.eye(3, dtype=np.uint8)
    train, test = (Split(np.zeros((3, 2), np.float32), labels) for _ in range(2))
    data = Data(train, test, num_classes=3)
    store_data(data)
    arrays = {"client_examples": np.arange(3), "client_ends": np.array([1, 3])}
    assert plan_skew(Plan(settings_with(data=data.describe()), arrays)) is None  # of several labels an example


def test_the_final_weights_are_the_last_state(plan: Plan, tmp_path: Path) -> None:
    run(plan, out=tmp_path / "run")
    last = load_state(kept_state(tmp_path / "run", 7), plan.digest)
    weights = load_weights(tmp_path / "run" / "weights.safetensors")
    assert list(weights) == list(plan.weights)
    assert all(np.array_equal(weights[name], last.weights[name]) for name in weights)


def test_runs_of_one_plan_have_equal_weights_for_any_number_of_workers(plan: Plan, tmp_path: Path) -> None:
    results = [run(plan, out=tmp_path / str(workers), workers=workers) for workers in (1, 2, 5)]
    assert len({result.weights.sha256 for result in results if result.weights}) == 1


@pytest.mark.parametrize("stopped_after", range(1, 7))
def test_an_interrupted_run_goes_on_to_the_same_bits(plan: Plan, tmp_path: Path, stopped_after: int) -> None:
    whole = run(plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "parts", watch=stop_after(stopped_after))
    assert load_result(tmp_path / "parts").status == "interrupted"
    seen: list[int] = []
    parts = run(plan, out=tmp_path / "parts", resume=True, watch=lambda record: seen.append(record.round))
    assert parts.weights == whole.weights
    assert [strip(record) for record in parts.rounds] == [strip(record) for record in whole.rounds]
    assert seen == list(range(stopped_after // 2 * 2 + 1, 8))  # states are kept every second round


def strip(record: RoundRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"seconds"})


def test_a_damaged_last_state_is_passed_over(plan: Plan, tmp_path: Path) -> None:
    whole = run(plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "parts", watch=stop_after(5))
    last = kept_state(tmp_path / "parts", 4)
    last.write_bytes(last.read_bytes()[:-1])
    seen: list[int] = []
    parts = run(plan, out=tmp_path / "parts", resume=True, watch=lambda record: seen.append(record.round))
    assert seen == [3, 4, 5, 6, 7]
    assert parts.weights == whole.weights


def test_an_event_that_was_not_written_to_its_end_is_passed_over(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run", watch=stop_after(3))
    log = tmp_path / "run" / "events.jsonl"
    intact = list(read_events(tmp_path / "run"))
    log.write_bytes(log.read_bytes() + b'{"event":"round_fini')
    assert list(read_events(tmp_path / "run")) == intact
    assert len(run(plan, out=tmp_path / "run", resume=True).rounds) == 7
    kinds = [type(event) for event in read_events(tmp_path / "run")]
    assert kinds.count(RoundFinished) == 7
    assert kinds.count(RoundEvaluated) == 4
    assert kinds[-2:] == [RunFinished, RunEnded]


def test_old_states_are_not_kept(make_plan: MakePlan, tmp_path: Path) -> None:
    run(make_plan(rounds=9), out=tmp_path / "run")
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("resume", [False, True])
def test_what_is_there_is_not_overwritten(plan: Plan, make_plan: MakePlan, tmp_path: Path, resume: bool) -> None:
    run(plan, out=tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="complete" if resume else "not empty"):
        run(plan, out=tmp_path / "run", resume=resume)
    with pytest.raises(InputError, match="is a run of plan" if resume else "not empty"):
        run(make_plan(rounds=2), out=tmp_path / "run", resume=resume)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_nothing_is_written_when_the_backend_refuses(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalBackend, "unsupported", lambda self, plan: ["model: too beautiful", "cohort: too small"])
    with pytest.raises(InputError) as refused:
        run(plan, out=tmp_path / "run")
    assert str(refused.value).count("local cannot run this plan: ") == 2
    assert not (tmp_path / "run").exists()


def test_a_diverged_run_fails_with_its_round(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"round 1: no client's update is finite.*client\.optimizer\.learning_rate"):
        run(make_plan(client=STEEP | {"epochs": 200}, model={"kind": "mlp", "hidden": [6, 6, 6]}), out=tmp_path / "run")
    result = load_result(tmp_path / "run")
    assert result.status == "failed"
    assert "round 1, client " in str(result.error)
    assert result.weights is None


def test_a_diverged_run_names_the_first_client_and_tensor_that_were_not_finite(plan: Plan, tmp_path: Path) -> None:
    culprit, others = plan.cohort(2)[1].client, {task.client for task in plan.cohort(4)}

    class Diverging(LocalBackend):
        def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
            def run_round(number: int, state: ServerState) -> RoundResult:
                updates = [Trainer(plan).train_from(state, task) for task in plan.cohort(number)]
                spoilt = {culprit} if number == 2 else others if number == 4 else set[int]()
                for update in updates:
                    if update.client in spoilt:
                        update.delta["output.bias"][0] = np.nan
                return round_result(finish_round(plan, state, updates), updates, {})

            yield from drive_rounds(plan, job, {}, run_round)

    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match=rf"finite \(first not: round 2, client {culprit}, output\.bias\), so the model"):
        execute_plan(Diverging(), "local", plan, Job(tmp_path / "run"))


def test_server_weights_that_overflow_fail_with_their_round(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(client=STEEP, aggregator={"kind": "fedavg", "learning_rate": 1e6}, rounds=50)
    with pytest.raises(RunError, match=r"round \d+: (the server's weights are not finite|no client's update)"):
        run(plan, out=tmp_path / "run")


class _Reporting(LocalBackend):
    """Trains as planned, and reports something else."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.changes = changes

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for event in super().execute(plan, job):
            changed = isinstance(event, RoundFinished) and event.round == 2
            yield event.model_copy(update=self.changes) if changed else event


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_trained": 35}, "round 2: the backend trained on 35 examples, the plan says 36"),
        ({"cohort": (0, 1, 4)}, r"round 2: the backend trained clients \[0, 1, 4\], the plan says"),
    ],
)
def test_a_backend_that_says_it_did_something_else_is_not_believed_to_have_run_the_plan(
    make_plan: MakePlan, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    plan = make_plan()
    (tmp_path / "run").mkdir()
    with pytest.raises(PlanViolation, match=message):
        execute_plan(_Reporting(**changes), "local", plan, Job(tmp_path / "run"))
    result = load_result(tmp_path / "run")
    assert result.status == "failed"
    assert len(result.rounds) == 1


def test_a_backend_that_stops_early_has_not_completed(make_plan: MakePlan, tmp_path: Path) -> None:
    class Early(LocalBackend):
        def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
            yield from list(super().execute(plan, job))[:2]

    (tmp_path / "run").mkdir()
    with pytest.raises(BackendError, match="ended after round 1 of 3"):
        execute_plan(Early(), "local", make_plan(), Job(tmp_path / "run"))
    assert load_result(tmp_path / "run").status == "failed"


def test_closing_a_run_stops_its_clients(make_plan: MakePlan, tmp_path: Path) -> None:
    events = LocalBackend().execute(make_plan(), Job(tmp_path))
    assert isinstance(next(events), RunStarted)
    next(events)
    events.close()
    assert next(events, None) is None


def test_the_driver_starts_each_round_from_the_run_it_follows(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(rounds=3)
    list(LocalBackend().execute(plan, Job(tmp_path / "followed", keep="all")))
    starts: list[ServerState] = []

    def run_round(number: int, state: ServerState) -> RoundResult:
        starts.append(state)
        nonsense = {name: weight + 1 for name, weight in state.weights.items()}
        return RoundResult(ServerState(number, nonsense, state.optimizer), (), 0, {}, {}, {})

    list(drive_rounds(plan, Job(tmp_path / "mine", follow=tmp_path / "followed"), {}, run_round))
    for number, start in enumerate(starts):
        expected = plan.weights if number == 0 else load_state(kept_state(tmp_path / "followed", number)).weights
        assert all(np.array_equal(start.weights[name], expected[name]) for name in expected)


def test_results_are_read_strictly(plan: Plan, tmp_path: Path) -> None:
    result = run(plan, out=tmp_path / "run")
    path = tmp_path / "run" / "result.json"
    for damage, message in [
        (b"{", "not valid JSON"),
        (b'{"schema_version": 2}', "schema_version 2 is unknown"),
        (b"{}", "not a result of this schema"),
        (result.model_dump_json().replace('"seed":0', '"seed":0,"extra":1').encode(), "extra"),
    ]:
        path.write_bytes(damage)
        with pytest.raises(InputError, match=message):
            load_result(tmp_path / "run")
    assert Result.model_validate_json(result.model_dump_json()) == result
