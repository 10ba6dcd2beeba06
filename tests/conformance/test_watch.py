"""What a caller's `watch` raises ends the run on every engine, comes out as it is, and the run goes on later."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import flspec
from flspec.protocol.backend import Job
from flspec.runs.folders import prepared_folder
from flspec.runs.result import RoundRecord, load_result
from flspec.runs.runner import attempt_of, execute_plan
from flspec.spec.loading import parse_spec
from tests.conformance.harness import Engines, require
from tests.processes import wait_until

SPEC = """
flspec: 1
name: watched
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {steps: 2, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 2}
"""


class Enough(Exception):
    """What no engine raises."""


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@pytest.mark.parametrize("backend", ["local", "flower:inprocess", "tff"])
def test_what_watch_raises_ends_the_run_and_all_its_processes(engines: Engines, tmp_path: Path, backend: str) -> None:
    require(backend)
    plan, seen, before = flspec.compile(parse_spec(SPEC)), list[int](), children()

    def note(record: RoundRecord) -> None:
        seen.append(record.round)
        if seen == [1, 2]:
            raise Enough("told")

    with pytest.raises(Enough) as raised:
        flspec.run(plan, backend, tmp_path / "run", watch=note)
    assert (seen, raised.value.args) == ([1, 2], ("told",))
    wait_until(lambda: children() <= before, lambda: f"still there: {children() - before}")
    stopped = load_result(tmp_path / "run")
    assert (stopped.status, len(stopped.rounds)) == ("interrupted", 2)
    assert stopped.error == "the caller's watch raised Enough: told"

    engine = engines(backend)  # one that runs already, which saves a start
    with prepared_folder(tmp_path / "run", plan, attempt_of(backend, plan, engine), resume=True):
        whole = execute_plan(engine, backend, plan, Job(tmp_path / "run"), resume=True, watch=note)
    assert (whole.status, seen, [one.round for one in whole.rounds]) == ("completed", [1, 2, 3], [1, 2, 3])
    (tmp_path / "whole").mkdir()
    assert whole.weights == execute_plan(engine, backend, plan, Job(tmp_path / "whole")).weights
