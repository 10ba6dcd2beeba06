"""Events are read as they were written, or the line is named that is not."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.errors import InputError
from flspec.protocol.events import RoundFinished, RunEnded, RunFinished
from flspec.protocol.plan import Plan
from flspec.runs.event_log import EventLog, append_events, ended, read_events, rewrite_events
from flspec.runs.result import load_result
from flspec.runs.runner import run
from tests.unit.runs.stopping import stop_after

MakePlan = Callable[..., Plan]
EVENTS = [
    RoundFinished(
        round=number, cohort=(1, 2), num_trained=3, train={"loss": 0.5}, dropped={2: "späť"}, seconds={"train": 0.1}
    )
    for number in (1, 2, 3)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rewrite_events(tmp_path, EVENTS)
    return tmp_path


def lines(folder: Path) -> list[bytes]:
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def write(folder: Path, changed: list[bytes]) -> None:
    (folder / "events.jsonl").write_bytes(b"".join(changed))


def test_what_was_written_is_read(folder: Path) -> None:
    with append_events(folder) as log:
        log.write(RunFinished())
    with append_events(folder) as log:
        log.write(RunEnded(status="completed", result="0" * 64))
    assert list(read_events(folder)) == [*EVENTS, RunFinished(), RunEnded(status="completed", result="0" * 64)]
    assert ended(folder) == RunEnded(status="completed", result="0" * 64)
    assert all(json.loads(line)["check"] for line in lines(folder))  # each line is JSON to others, too


def test_an_event_of_a_run_that_goes_on_is_no_end(folder: Path) -> None:
    assert ended(folder) is None
    assert ended(folder / "nowhere") is None


@pytest.mark.parametrize("left", [0, 1, 40, -1])
def test_a_last_line_that_was_cut_short_does_not_count(folder: Path, left: int) -> None:
    *whole, last = lines(folder)
    write(folder, [*whole, last[:left]])
    assert list(read_events(folder)) == EVENTS[:2]


def test_the_events_before_a_damaged_line_are_a_log_again(folder: Path) -> None:
    write(folder, lines(folder)[:2])
    assert list(read_events(folder)) == EVENTS[:2]


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "a number": (lambda found: [found[0], found[1].replace(b'"loss":0.5', b'"loss":0.6'), found[2]], 2),
    "the first line": (lambda found: [found[0].replace(b'"round":1', b'"round":7'), *found[1:]], 1),
    "the last line": (lambda found: [*found[:2], found[2].replace(b'"num_trained":3', b'"num_trained":4')], 3),
    "a check": (lambda found: [found[0], found[1][:-4] + bytes([found[1][-4] ^ 1]) + found[1][-3:], found[2]], 2),
    "a line is missing": (lambda found: [found[0], found[2]], 2),
    "the first is missing": (lambda found: found[1:], 1),
    "two have changed places": (lambda found: [found[0], found[2], found[1]], 2),
    "a line is there twice": (lambda found: [found[0], found[0], *found[1:]], 2),
    "an empty line": (lambda found: [found[0], b"\n", *found[1:]], 2),
    "a line without a check": (lambda found: [found[0], b'{"event":"run_finished"}\n', *found[1:]], 2),
    "no text": (lambda found: [found[0], bytes(range(256)) + b"\n", *found[1:]], 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_line_that_was_changed_is_named_with_the_way_out(folder: Path, change: str) -> None:
    what, number = CHANGES[change]
    write(folder, what(lines(folder)))
    with pytest.raises(InputError, match=rf"events\.jsonl:{number}: the line is not as .*remove it and those after it"):
        list(read_events(folder))
    write(folder, lines(folder)[: number - 1])  # as the message says
    assert list(read_events(folder)) == EVENTS[: number - 1]


def test_an_event_that_is_not_known_is_named_as_such(folder: Path) -> None:
    class Later(RunFinished):
        event: str = "run_paused"  # type: ignore[assignment]

    with append_events(folder) as log:
        log.write(Later())
    with pytest.raises(InputError, match=r"events\.jsonl:4: the line is of another version of flspec"):
        list(read_events(folder))


def test_a_line_without_an_end_is_not_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flspec.runs.event_log._MOST_BYTES", 1000)
    write(folder, [*lines(folder), b"x" * 5000])
    with pytest.raises(InputError, match=r"events\.jsonl:4: "):
        list(read_events(folder))


def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    with pytest.raises(InputError, match="is not a file"):
        list(read_events(tmp_path))


def test_a_file_that_takes_a_part_of_a_line_gets_the_rest(tmp_path: Path) -> None:
    class Slow:
        name, content = str(tmp_path / "events.jsonl"), b""

        def write(self, part: memoryview) -> int:
            self.content += bytes(part[:7])
            return min(7, len(part))

    slow = Slow()
    EventLog(slow).write(EVENTS[0])  # type: ignore[arg-type]
    (tmp_path / "events.jsonl").write_bytes(slow.content)
    assert list(read_events(tmp_path)) == EVENTS[:1]


def test_no_damage_of_an_interrupted_run_is_resumed_as_another_result(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(
        rounds=5, evaluation={"best": {"metric": "loss"}}, aggregator={"kind": "fedadam", "learning_rate": 0.1}
    )
    whole = run(plan, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "stopped", watch=stop_after(3))
    stopped = tmp_path / "stopped"
    draw, refused = random.Random(0), 0
    files = [*2 * [stopped / "events.jsonl"], *(path for path in stopped.rglob("*") if path.is_file())]
    for number in range(60):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "stopped", tmp_path / "run")
        victim = (
            tmp_path
            / "run"
            / draw.choice([tmp_path / "stopped" / "events.jsonl", *files]).relative_to(tmp_path / "stopped")
        )
        victim.write_bytes(_damaged(victim.read_bytes(), draw, number))
        try:
            result = run(plan, out=tmp_path / "run", resume=True)
        except InputError:
            refused += 1
            continue
        assert (result.weights, result.final, result.best) == (whole.weights, whole.final, whole.best), victim
        assert [r.model_dump(exclude={"seconds"}) for r in result.rounds] == [
            r.model_dump(exclude={"seconds"}) for r in whole.rounds
        ], victim
        assert load_result(tmp_path / "run").status == "completed"
    assert 10 < refused < 50


def _damaged(content: bytes, draw: random.Random, number: int) -> bytes:
    at = draw.randrange(max(1, len(content)))
    if number % 4 == 0:
        return content[:at]
    if content[at : at + 1].isdigit() and number % 2:
        return content[:at] + b"%d" % ((content[at] - 47) % 10) + content[at + 1 :]  # another digit
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(7)]) + content[at + 1 :]
