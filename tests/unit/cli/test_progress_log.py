"""Progress in a log: a line a round, with the time that is left at the pace of this session, or the same as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from flspec.cli.consoles import EscapingConsole
from flspec.cli.progress import CertifyProgress, RunProgress
from flspec.cli.progress_log import Log
from flspec.protocol.records import RoundRecord
from tests.command_line import flspec

SPEC = """
flspec: 1
name: logged
rounds: 2
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
cohort: {kind: uniform, size: 2}
model: {kind: softmax_regression}
client: {steps: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("flspec.cli.progress_log.time.monotonic", lambda: self.now)


def record(number: int, loss: float = 1.5) -> RoundRecord:
    values: dict[str, Any] = {"cohort": (0,), "num_examples": 3, "evaluation": None, "bytes_down": 1, "bytes_up": 1}
    return RoundRecord(round=number, train={"loss": loss}, seconds={"train": 0.5}, **values)


def test_the_time_left_is_that_of_the_rounds_of_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = Clock(monkeypatch), io.StringIO()
    progress = RunProgress(EscapingConsole(file=written, width=300), 10, "local")
    clock.now += 60  # an engine starts
    for number in (6, 7, 8, 9, 10):  # a run that was resumed after round 5
        progress.update(record(number))
        clock.now += 4
    assert written.getvalue().splitlines() == [
        "local: round 6 of 10, train loss 1.5000, 0.50 s",
        "local: round 7 of 10, train loss 1.5000, 0.50 s, about 12 s left",
        "local: round 8 of 10, train loss 1.5000, 0.50 s, about 8 s left",
        "local: round 9 of 10, train loss 1.5000, 0.50 s, about 4 s left",
        "local: round 10 of 10, train loss 1.5000, 0.50 s",
    ]


def test_each_phase_of_a_certificate_has_a_pace_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = Clock(monkeypatch), io.StringIO()
    progress = CertifyProgress(EscapingConsole(file=written, width=300), 3)
    for backend, seconds in (("local", 1), ("tff", 30)):
        for number in (1, 2):
            progress.update(backend, "free-running", record(number))
            clock.now += seconds
    lines = written.getvalue().splitlines()
    assert lines[1].endswith("about 1 s left")
    assert lines[3].startswith("tff free-running: round 2 of 3")
    assert lines[3].endswith("about 30 s left")


def test_json_is_an_object_a_line_even_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    terminal = EscapingConsole(file=io.StringIO(), force_terminal=True)
    with RunProgress(terminal, 3, "local", as_json=True) as progress:
        for number, loss in ((1, 1.5), (2, 1.25)):
            progress.update(record(number, loss))
            clock.now += 2
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert {name: second[name] for name in ("what", "round", "rounds", "seconds", "seconds_left", "train")} == {
        "what": "local",
        "round": 2,
        "rounds": 3,
        "seconds": 0.5,
        "seconds_left": 2.0,
        "train": {"loss": 1.25},
    }
    assert first["seconds_left"] is None
    assert first["train"] == {"loss": 1.5}


def test_a_terminal_has_bars_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(EscapingConsole(file=io.StringIO(), force_terminal=True))
    assert not log.is_on
    log.line("local", "round 1 of 2", 1, 2, {})
    assert capsys.readouterr().err == ""


def test_a_run_and_a_matrix_log_as_they_are_asked_to(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = flspec(tmp_path, "run", "spec.yaml", "--log-format", "json", "--json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["round"], line["rounds"]) for line in lines] == [(1, 2), (2, 2)]
    rounds = json.loads(done.stdout)["rounds"]
    assert [line["evaluation"] for line in lines] == [one["evaluation"] for one in rounds]
    refused = flspec(tmp_path, "run", "spec.yaml", "--log-format", "xml")
    assert refused.returncode == 2
    assert "xml" in refused.stderr
