"""A mistake of somebody else's code ends a run with its line, and its traceback lies in the run's folder."""

from __future__ import annotations

import errno
import io
import json
import re
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from flspec.aggregators.fedavg import FedAvg
from flspec.errors import BackendError, RunError
from flspec.execution.part_checks import PartCall
from flspec.protocol.backend import Job
from flspec.protocol.events import Event
from flspec.protocol.plan import Plan
from flspec.runs.attempt import ERROR
from flspec.runs.result import RoundRecord, load_result
from flspec.runs.runner import execute_plan, run
from flspec.runs.sweep import Standing, sweep
from flspec_local import LocalBackend
from tests.unit.runs.sweep_cases import MakeStudy, cohorts
from tests.unit.scratch_packages import flspec, run_python, write_package

MakePlan = Callable[..., Plan]
AGGREGATORS = """
import sys
from dataclasses import replace
from typing import Literal

import numpy as np

from flspec.aggregators.fedavg import FedAvg
from flspec.server_optimizers import ServerOptimizer


class Raises(FedAvg):
    kind: Literal["raises"] = "raises"
    def combine(self, updates):
        return {"v.weight": updates[0].delta["v.weight"]}

class Drops(FedAvg):
    kind: Literal["drops"] = "drops"
    def combine(self, updates):
        return dict([*super().combine(updates).items()][1:])

class Scalar(FedAvg):
    kind: Literal["scalar"] = "scalar"
    def combine(self, updates):
        return {name: value.mean() for name, value in super().combine(updates).items()}

class Nothing(FedAvg):
    kind: Literal["nothing"] = "nothing"
    def combine(self, updates):
        pass

class Exits(FedAvg):
    kind: Literal["exits"] = "exits"
    def combine(self, updates):
        sys.exit("enough")

class Short(ServerOptimizer):
    kind: Literal["short"] = "short"
    def initial_slots(self):
        return {}
    def step(self, number, delta, slots):
        return delta.mean(), {}

class Optimized(FedAvg):
    kind: Literal["optimized"] = "optimized"
    @property
    def server_optimizer(self):
        return Short()

class Without(FedAvg):
    kind: Literal["without"] = "without"
    @property
    def server_optimizer(self):
        return self.rate
"""
KINDS = {
    "raises": r"combine raised KeyError: 'v\.weight' in \S+/odd_rules\.py:15",
    "drops": r"combine gave update without hidden_1\.weight",
    "scalar": r"combine gave update: hidden_1\.weight of shape \[\], not \[6, 4\]",
    "nothing": r"combine gave nothing, not update by name",
    "exits": r"combine raised SystemExit: enough in \S+/odd_rules\.py:\d+",
    "optimized": r"apply raised ValueError: step gave \S+ a change of shape \[\], not \[6, 4\]",
}
SPEC = """
flspec: 1
name: odd
rounds: 2
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 3}
model: {kind: mlp, hidden: [6]}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    write_package(
        folder, "odd_rules", AGGREGATORS, "flspec.aggregators", *(name.title() for name in (*KINDS, "without"))
    )
    (folder / "spec.yaml").write_text(SPEC)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_an_aggregator_s_mistake_is_told_by_its_line_and_changes_nothing(packages: Path, kind: str) -> None:
    done = flspec(packages, "run", "spec.yaml", "--set", f"aggregator={{kind: {kind}}}", "--out", kind)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.search(rf"^flspec: aggregator\S*: \w+ \(odd_rules\.\w+\): {KINDS[kind]}; repair ", line), line
    assert load_result(packages / kind).status == "failed"
    if "raised" in KINDS[kind] and kind != "optimized":
        assert line.endswith(f"; the traceback is in {packages / kind / ERROR}")
        assert "Traceback (most recent call last)" in (packages / kind / ERROR).read_text()
        assert "odd_rules.py" in (packages / kind / ERROR).read_text()
    elif kind != "optimized":
        assert not (packages / kind / ERROR).exists()


def test_debug_prints_the_traceback_as_well(packages: Path) -> None:
    usual = ("run", "spec.yaml", "--set", "aggregator={kind: raises}", "--out")
    done = flspec(packages, *usual, "debug", "--debug")
    assert "Traceback (most recent call last)" in done.stderr
    assert 'updates[0].delta["v.weight"]' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("flspec: aggregator: raises")


def test_in_a_worker_the_line_is_told_and_the_traceback_is_in_its_log(packages: Path) -> None:
    usual = ("run", "spec.yaml", "--backend", "flower:inprocess", "--set", "aggregator={kind: raises}", "--out")
    done = flspec(packages, *usual, "worker")
    (line,) = done.stderr.splitlines()
    assert re.search(r"combine raised KeyError: 'v\.weight' in \S+/odd_rules\.py:15; ", line)
    assert "Traceback (most recent call last)" in (packages / "worker" / "worker.log").read_text()


def test_a_part_s_mistake_while_compiling_is_told_by_its_field_and_line(packages: Path) -> None:
    for command in ("plan", "run"):
        done = flspec(packages, command, "spec.yaml", "--set", "aggregator={kind: without}")
        assert done.returncode == 2
        place = re.escape("--set aggregator={kind: without}: ")
        told = r"aggregator: without \(odd_rules\.Without\) raised Attribute.*'rate' in \S+/odd_rules\.py:\d+; "
        assert re.match(place + told, done.stderr)
        assert done.stderr.count("\n") == 1
    assert not (packages / "runs").exists()


SCRIPT = """
import sys
from typing import Literal
from flspec.aggregators.fedavg import FedAvg

class Mine(FedAvg):
    kind: Literal["mine"] = "mine"

if __name__ == "__main__":
    import flspec
    from flspec.errors import FlspecError
    from flspec.spec.loading import parse_spec
    plan = flspec.compile(parse_spec(open("spec.yaml").read() + "aggregator: {kind: mine}"))
    try:
        print(flspec.run(plan, sys.argv[1], sys.argv[2]).status)
    except FlspecError as error:
        print(type(error).__name__, error)
"""


def test_a_part_of_a_script_runs_here_and_is_refused_in_a_sentence_elsewhere(packages: Path) -> None:
    (packages / "script.py").write_text(SCRIPT)
    here, there = (run_python(packages, "script.py", *way) for way in (("local", "s1"), ("flower:inprocess", "s2")))
    assert here.stdout == "completed\n"
    assert there.stdout == (
        "InputError flower:inprocess cannot run this plan: aggregator: mine (__main__.Mine) is of no installed "
        "package, so no other process can find it; offer it in an entry point, or run it on local\n"
    )
    assert not (packages / "s2").exists()


def test_what_the_caller_s_watch_raises_comes_out_and_the_run_counts_as_interrupted(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    def watch(record: RoundRecord) -> None:
        raise Enough(record.round)

    plan = make_plan()
    with pytest.raises(Enough, match="1") as raised:
        run(plan, out=tmp_path / "run", watch=watch)
    assert raised.value.__cause__ is None
    stopped = load_result(tmp_path / "run")
    assert (stopped.status, stopped.error) == ("interrupted", "the caller's watch raised Enough: 1")
    assert not (tmp_path / "run" / ERROR).exists()
    assert run(plan, out=tmp_path / "run", resume=True).status == "completed"


def test_what_a_sweep_s_watch_raises_comes_out_too(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    def watch(standing: Standing) -> None:
        if any(0 < share < 1 for share in standing.running.values()):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        sweep(make_study(cohorts(2)), None, tmp_path, watch=watch)
    assert sweep(make_study(cohorts(2)), None, tmp_path).is_complete


class Stumbles(LocalBackend):
    """Raises in its second round."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def execute(self, plan: Plan, job: Job) -> Generator[Event, None, None]:
        for number, event in enumerate(super().execute(plan, job)):
            if number == 2:
                raise self.error
            yield event


def test_an_engine_s_exception_is_told_with_its_line(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as raised:
        execute_plan(Stumbles(ValueError("too hot")), "local", make_plan(), Job(tmp_path))
    place = rf"\({re.escape(__file__)}:\d+\)"
    assert re.fullmatch(rf"local: ValueError: too hot {place}; the traceback is in \S+/{ERROR}", str(raised.value))
    assert load_result(tmp_path).error == str(raised.value)


def test_a_run_that_succeeds_at_last_keeps_no_traceback(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    with pytest.raises(BackendError):
        execute_plan(Stumbles(ValueError("too hot")), "local", plan, Job(tmp_path))
    assert (tmp_path / ERROR).exists()
    run(plan, out=tmp_path, resume=True)
    assert not (tmp_path / ERROR).exists()


@pytest.mark.parametrize(
    ("victim", "number"),
    [("round_0000002.safetensors", errno.ENOSPC), ("events.jsonl", errno.EDQUOT), ("result.json", errno.EFBIG)],
)
def test_a_full_disk_is_told_by_the_file_and_the_run_goes_on_once_there_is_room(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str, number: int
) -> None:
    plan = make_plan()
    with monkeypatch.context() as patch:
        usual = io.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            found = usual(file, mode, *arguments, **named)
            return _Full(found, number) if victim in str(file) and set(mode) & set("wa") else found

        patch.setattr(io, "open", opened)
        with pytest.raises(RunError) as raised:
            run(plan, out=tmp_path / "run")
    path = tmp_path / "run" / ("checkpoints" if "round" in victim else "") / victim
    assert str(raised.value) == f"local: {path} cannot be written: it is full; make room, and go on with --resume"
    assert run(plan, out=tmp_path / "run", resume=True).weights == run(plan, out=tmp_path / "whole").weights


class _Full:
    """A file on a disk that is full from its third write on."""

    def __init__(self, file: Any, number: int) -> None:
        self._file, self._number, self._writes = file, number, 0

    def write(self, content: Any) -> int:
        self._writes += 1
        if self._writes > 2 or "events" not in str(self._file.name):
            raise OSError(self._number, "it is full")
        return int(self._file.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def test_a_signal_is_an_interruption_even_while_a_part_is_at_work(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        execute_plan(Stumbles(SystemExit(128 + signal.SIGTERM)), "local", make_plan(), Job(tmp_path))
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "interrupted"


def test_a_signal_that_arrives_in_a_rule_of_flspec_is_not_its_mistake() -> None:
    with pytest.raises(SystemExit, match="143"), PartCall("aggregator", FedAvg(), "combine").guarded():
        exec("raise SystemExit(143)", {"__name__": "flspec.cli.main"})  # as the handler does
