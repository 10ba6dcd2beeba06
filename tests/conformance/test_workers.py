"""Workers of the local backend: threads or processes, and how many, change no bit. Processes are started for it.

A worker process takes two seconds of processor time to import torch, so a run with some is asked many questions.
"""

from __future__ import annotations

import math
import os
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from flspec.compiler.compile import compile
from flspec.errors import RunError, RunWarning
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.events import RoundFinished, Workers
from flspec.protocol.plan import ClientTask, Plan
from flspec.protocol.registry import find_backend
from flspec.protocol.state import ServerState
from flspec.spec.loading import load_spec, parse_spec
from flspec_local import crew as crews
from flspec_local.threads import Threads, Trained

PLAIN = """
flspec: 1
name: plain
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 7}
model: {kind: mlp, hidden: [16]}
client: {steps: 4, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
# Own parts, records that clients keep and send, error feedback, an optimizer that goes on, and updates that are lost.
RICH = (
    PLAIN.replace("plain", "rich").replace("learning_rate: 0.1", "learning_rate: 0.1, momentum: 0.5, state: kept")
    + """
parts: [counting.py]
compression: {kind: int8, error_feedback: true}
faults: [{kind: dropout, clients: [2]}]
"""
).replace(
    "learning_rate: 0.1, momentum: 0.5, state: kept}}",
    "learning_rate: 0.1, momentum: 0.5, state: kept}, algorithm: {kind: counting, most: 9}}",
)
COUNTING = '''
"""A client counts its rounds, tells the server, and may count to no more than it is told."""

from typing import Literal

import numpy as np

from flspec.client_algorithms import ClientAlgorithm, ClientOutcome


class Counting(ClientAlgorithm):
    """Gradients grow with the rounds of a client; the server's record is what clients counted in all."""

    kind: Literal["counting"] = "counting"
    most: int
    client_slots, server_slots, sends = {"rounds": 0.0}, {"counted": 0.0}, ("counted",)

    def correct(self, gradient, weight, start, server, own):
        return gradient * (1 + 0.1 * own["rounds"].mean() + 0.01 * server["counted"].mean())

    def finish(self, work):
        rounds = {name: value + 1 for name, value in work.own["rounds"].items()}
        if max(value.max() for value in rounds.values()) > self.most:
            raise ValueError(f"counted beyond {self.most}")
        return ClientOutcome(super().finish(work).delta, {"rounds": rounds}, {"counted": rounds})

    def combine(self, work):
        return work.mean, {"counted": {n: sum(one["counted"][n] for one in work.sent) for n in work.server["counted"]}}
'''


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return rich_plan(tmp_path_factory.mktemp("rich"))


def rich_plan(folder: Path, most: int = 9) -> Plan:
    (folder / "counting.py").write_text(COUNTING)
    (folder / "spec.yaml").write_text(RICH.replace("most: 9", f"most: {most}"))
    return compile(load_spec(folder / "spec.yaml"))


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> list[crews.Crew]:
    """The crews of the test's runs."""
    seen: list[crews.Crew] = []
    begin = crews.Crew.__init__

    def note(self: crews.Crew, *given: object) -> None:
        seen.append(self)
        begin(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(crews.Crew, "__init__", note)
    return seen


def outcome(plan: Plan, selection: str, workers: int, folder: Path) -> tuple[bytes, Workers | None]:
    """The last state of a run, and who trained."""
    events = list(find_backend(selection).execute(plan, Job(folder, workers=workers, keep="all")))
    last = [event for event in events if isinstance(event, RoundFinished)][-1]
    return kept_state(folder, plan.num_rounds).read_bytes(), last.workers


def test_any_number_and_kind_of_workers_gives_the_same_bits(
    rich: Plan, crew: list[crews.Crew], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, trained_here = compile(parse_spec(PLAIN)), Threads._trained_here
    here: list[int] = []  # the numbers of tasks that the asking thread trained at once

    def note(threads: Threads, state: ServerState, tasks: Sequence[ClientTask]) -> Future[Trained]:
        here.append(len(tasks))
        return trained_here(threads, state, tasks)

    monkeypatch.setattr(Threads, "_trained_here", note)
    for plan, number_of_processes, short_seconds in ((plain, 2, 0.0), (rich, 3, math.inf)):
        monkeypatch.setattr(crews, "_SHORT_SECONDS", short_seconds)
        states, folder = set(), tmp_path / plan.spec["name"]
        for workers in (1, 2, 3):
            states.add(outcome(plan, "local:threads", workers, folder / f"threads {workers}")[0])
        state, who = outcome(plan, "local:processes", number_of_processes, folder / "processes")
        assert states == {state}
        assert who == Workers(kind="processes", number=number_of_processes, why="as selected")
        assert min(crew[-1].num_tasks["threads"], crew[-1].num_tasks["processes"]) >= plan.num_rounds - 1
        assert bool(here) is (short_seconds > 0)
    state, who = outcome(plain, "local:processes", 1, tmp_path / "alone")
    assert who == Workers(kind="threads", number=1, why="no more can be of use")
    turned_round = crews.Crew.updates
    monkeypatch.setattr(crews.Crew, "updates", lambda crew, state, lasting: [*turned_round(crew, state, True)][::-1])
    assert outcome(rich, "local", 1, tmp_path / "wrong")[0] not in states  # as updates in order of arrival might


def test_a_run_goes_on_without_a_worker_that_was_killed(rich: Plan, crew: list[crews.Crew], tmp_path: Path) -> None:
    whole, _ = outcome(rich, "local", 1, tmp_path / "whole")
    events = find_backend("local:processes").execute(rich, Job(tmp_path / "run", workers=2, keep="all"))
    next(events), next(events)
    (worker,) = crew[-1]._processes.all  # type: ignore[union-attr]
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.warns(RunWarning, match=r"local: a worker process ended \(killed by SIGKILL\), so its clients are "):
        *_, last, _ = events
    assert isinstance(last, RoundFinished)
    assert last.workers
    assert (last.workers.kind, last.workers.number) == ("threads", 1)
    assert kept_state(tmp_path / "run", rich.num_rounds).read_bytes() == whole


def test_a_parts_error_in_a_worker_process_is_told_as_in_a_thread(crew: list[crews.Crew], tmp_path: Path) -> None:
    plan, told = rich_plan(tmp_path, most=2), Counter[str]()
    for selection in ("local:threads", "local:processes"):
        with pytest.raises(RunError) as raised:
            outcome(plan, selection, 2, tmp_path / selection)
        told[str(raised.value)] += 1
    ((message, times),) = told.items()
    assert times == 2
    assert "finish raised ValueError: counted beyond 2 in " in message
    assert "counting.py:24; repair finish there" in message
    assert crew[-1].num_tasks["processes"] >= 1
