"""Trackers are told every round once, change nothing, and lose no run; the table of a resumed run is the same."""

from __future__ import annotations

import csv
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flspec.errors import InputError, RunError, TrackerWarning
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.protocol.records import Result, RoundRecord
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.runs.sweep import sweep
from flspec.trackers import Tracker, find_tracker, find_trackers, tracker_names
from flspec.trackers.csv import Csv
from flspec_local import LocalBackend
from tests.command_line import flspec
from tests.unit.runs.sweep_cases import MakeStudy, cohorts
from tests.unit.scratch_packages import digest_of, write_package
from tests.unit.scratch_packages import flspec as flspec_with

EVERY_SECOND = {"every": 2, "metrics": ["loss", "roc_auc"]}  # of three classes in twenty examples, at times undefined


@pytest.fixture
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan(rounds=5, evaluation=EVERY_SECOND)


class Diary(Tracker):
    """Remembers what it is told."""

    name: ClassVar[str] = "diary"

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, plan: Plan, folder: Path) -> None:
        self.told.append(("start", plan.digest, folder))

    def round(self, record: RoundRecord) -> None:
        self.told.append(record)

    def finish(self, result: Result) -> None:
        self.told.append(result)


class Clumsy(Diary):
    """Raises in one of its methods."""

    name: ClassVar[str] = "clumsy"

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__()
        self.where, self.error = where, error

    def start(self, plan: Plan, folder: Path) -> None:
        self._do("start")

    def round(self, record: RoundRecord) -> None:
        self._do("round")

    def finish(self, result: Result) -> None:
        self._do("finish")

    def _do(self, what: str) -> None:
        self.told.append(what)
        if what == self.where:
            raise self.error


class Unmade(Diary):
    name: ClassVar[str] = "unmade"

    def __init__(self) -> None:
        raise ValueError("no room")


def stop_after(number: int) -> Callable[[RoundRecord], None]:
    def watch(record: RoundRecord) -> None:
        if record.round == number:
            raise KeyboardInterrupt

    return watch


# ----------------------------------------------------------------------------------------------------------- the table


def test_the_table_has_a_row_for_each_value(plan: Plan, tmp_path: Path) -> None:
    result = run(plan, out=tmp_path / "run", trackers="csv")
    with (tmp_path / "run" / "rounds.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["round", "split", "metric", "value"]
    expected = [
        (record.round, split, metric, value)
        for record in result.rounds
        for split, values in {"train": record.train, **(record.evaluation or {})}.items()
        for metric, value in values.items()
    ]
    assert [(int(number), split, metric, float(value)) for number, split, metric, value in rows[1:]] == expected
    assert {number for number, split, *_ in expected if split == "test"} == {2, 4, 5}


@pytest.mark.parametrize("stopped_after", [1, 3, 4])
@pytest.mark.parametrize("left", ["as it was", "nothing", "half a line"])
def test_the_table_of_a_resumed_run_is_that_of_a_whole_one(
    plan: Plan, tmp_path: Path, stopped_after: int, left: str
) -> None:
    run(plan, out=tmp_path / "whole", trackers="csv")
    table = tmp_path / "parts" / "rounds.csv"
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=table.parent, trackers="csv", watch=stop_after(stopped_after))
    assert 1 < len(table.read_text().splitlines()) < len((tmp_path / "whole" / "rounds.csv").read_text().splitlines())
    if left == "nothing":
        table.unlink()
    elif left == "half a line":
        table.write_bytes(table.read_bytes()[:-3])
    run(plan, out=table.parent, trackers="csv", resume=True)
    assert table.read_bytes() == (tmp_path / "whole" / "rounds.csv").read_bytes()


# -------------------------------------------------------------------------------------------------------- what is told


def test_a_tracker_is_told_all_of_a_run_in_order(plan: Plan, tmp_path: Path) -> None:
    diary = Diary()
    result = run(plan, out=tmp_path / "run", trackers=[diary])
    assert diary.told == [("start", plan.digest, tmp_path / "run"), *result.rounds, result]


def test_of_a_resumed_run_it_is_told_the_rounds_before_again(plan: Plan, tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(KeyboardInterrupt):
        run(plan, out=tmp_path / "run", trackers=[diary], watch=stop_after(3))
    assert [getattr(one, "status", None) for one in diary.told] == [None, None, None, None, "interrupted"]
    again = Diary()
    result = run(plan, out=tmp_path / "run", trackers=[again], resume=True)
    assert again.told[1:] == [*result.rounds, result]
    assert [record.round for record in result.rounds] == [1, 2, 3, 4, 5]


def test_of_a_run_that_fails_it_is_told_the_end(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: LocalBackend, plan: Plan, job: Job) -> None:
        raise RunError("out of luck")

    monkeypatch.setattr(LocalBackend, "execute", fail)
    diary = Diary()
    with pytest.raises(RunError):
        run(plan, out=tmp_path / "run", trackers=[diary])
    assert diary.told[-1] == load_result(tmp_path / "run")


@pytest.mark.parametrize("where", ["start", "round", "finish"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), InputError("a\nb"), RunError("c")], ids=repr)
def test_one_that_raises_is_told_of_and_loses_nothing(plan: Plan, tmp_path: Path, where: str, error: Exception) -> None:
    clumsy, diary = Clumsy(where, error), Diary()
    with pytest.warns(TrackerWarning) as told:
        result = run(plan, out=tmp_path / "run", trackers=[clumsy, diary])
    why = " ".join(f"{type(error).__name__}: {error}".split())
    (warning,) = [str(one.message) for one in told]
    line = rf"{re.escape(__file__)}:\d+"
    end = re.escape(f"; the run in {tmp_path / 'run'} goes on without it")
    assert re.fullmatch(rf"tracker clumsy: {re.escape(why)} in {line}{end}", warning)
    assert clumsy.told[-1] == where  # and no more
    assert clumsy.told.count("round") == {"start": 0, "round": 1, "finish": 5}[where]
    assert len(diary.told) == 7
    assert result.weights == run(plan, out=tmp_path / "alone").weights


def test_one_that_cannot_be_made_is_told_of_and_loses_nothing(plan: Plan, tmp_path: Path) -> None:
    with pytest.warns(
        TrackerWarning, match=r"tracker unmade: ValueError: no room in \S+test_trackers.py:\d+; the run in"
    ):
        assert run(plan, out=tmp_path / "run", trackers=[Unmade]).status == "completed"


def test_one_that_exits_is_told_of_as_well(plan: Plan, tmp_path: Path) -> None:
    class Exits(Diary):
        name = "exits"

        def round(self, record: RoundRecord) -> None:
            sys.exit()

    with pytest.warns(TrackerWarning, match=r"tracker exits: SystemExit: in \S+test_trackers.py:\d+; the run in "):
        assert run(plan, out=tmp_path / "run", trackers=[Exits()]).status == "completed"


def test_where_warnings_are_errors_the_run_is_not_lost_either(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(plan, out=tmp_path / "run", trackers=[Clumsy("round", ValueError("odd"))])
    assert result.status == "completed"
    assert capsys.readouterr().err.startswith("flspec: tracker clumsy: ValueError: odd in ")


def test_one_that_meddles_changes_nothing(plan: Plan, tmp_path: Path) -> None:
    class Meddler(Diary):
        name = "meddler"

        def round(self, record: RoundRecord) -> None:
            record.train.clear()
            (record.evaluation or {}).clear()

    class Forger(Diary):
        name = "forger"

        def start(self, plan: Plan, folder: Path) -> None:
            plan.arrays["batches"][:] = 0

    with pytest.warns(TrackerWarning, match="tracker forger: ValueError: assignment destination is read-only"):
        result = run(plan, out=tmp_path / "run", trackers=[Meddler(), Forger()])
    alone = run(plan, out=tmp_path / "alone")
    assert result.weights == alone.weights
    without_time = [[record.model_dump(exclude={"seconds"}) for record in one.rounds] for one in (result, alone)]
    assert without_time[0] == without_time[1]
    assert plan.arrays["batches"].flags.writeable


# ---------------------------------------------------------------------------------------------------- how it is chosen


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("cvs", "tracker: unknown 'cvs'; did you mean 'csv'"),
        (["csv", "csv"], "tracker: 'csv' is chosen twice; leave one out"),
        (["csv", Csv], "tracker: 'csv' is chosen twice"),
        ([Diary(), Diary()], "tracker: 'diary' is chosen twice"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_written(
    plan: Plan, tmp_path: Path, chosen: list[Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        run(plan, out=tmp_path / "run", trackers=chosen)
    assert not (tmp_path / "run").exists()


def test_one_is_chosen_by_name_by_class_or_made() -> None:
    made = Csv()
    assert find_trackers("csv") == find_trackers(["csv"]) == find_trackers(Csv) == [Csv]
    assert find_trackers(made) == [made]
    assert find_trackers(()) == []
    assert find_tracker("csv") is Csv
    assert "csv" in tracker_names()


def test_each_cell_of_a_matrix_has_its_own(make_study: MakeStudy, jobs: list[Job], tmp_path: Path) -> None:
    result = sweep(make_study(cohorts(2, 3)), None, tmp_path / "sweep", jobs=2, trackers=["csv"])
    for cell in result.cells:
        folder = tmp_path / "sweep" / str(cell.folder)
        rows = (folder / "rounds.csv").read_text().splitlines()[1:]
        expected = [record.train["loss"] for record in load_result(folder).rounds]
        assert [float(row.split(",")[3]) for row in rows if ",train,loss," in row] == expected
    with pytest.raises(InputError, match="tracker: unknown 'none'"):
        sweep(make_study(cohorts(2)), None, tmp_path / "none", trackers=["none"])
    assert not (tmp_path / "none").exists()


# ------------------------------------------------------------------------------------------------ installed packages

BOARD = """
from flspec.trackers import Tracker

class board(Tracker):
    name = "board"

    def start(self, plan, folder):
        self.file = (folder / "board.txt").open("w")

    def round(self, record):
        print(record.round, record.train["loss"], file=self.file)

    def finish(self, result):
        print(result.status, file=self.file)
        self.file.close()
        raise OSError("the board fell down")
"""


def test_one_from_a_package_follows_a_run(tmp_path: Path) -> None:
    assert flspec(tmp_path, "new", "spec.yaml", "--yes", "--rounds", "2").returncode == 0
    before = digest_of(tmp_path)
    write_package(tmp_path, "my_board", BOARD, "flspec.trackers", "board")
    chosen = ("--tracker", "board", "--tracker", "csv")
    done = flspec_with(tmp_path, "run", "spec.yaml", "--backend", "flower:inprocess", "--out", "run", *chosen)
    assert done.returncode == 0, done.stderr
    assert "flspec: tracker board: OSError: the board fell down in " in done.stderr
    assert f"; the run in {tmp_path / 'run'} goes on without it" in done.stderr
    result = load_result(tmp_path / "run")
    losses = [f"{record.round} {record.train['loss']}" for record in result.rounds]
    assert (tmp_path / "run" / "board.txt").read_text().splitlines() == [*losses, "completed"]
    assert (tmp_path / "run" / "rounds.csv").is_file()
    assert digest_of(tmp_path) == before == result.plan_digest


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nothing_of_this_name", "tracker: 'board', offered by my_board, cannot be imported: ModuleNotFound"),
        ("board = print", "tracker: 'board', offered by my_board, is no flspec.trackers.Tracker"),
        (BOARD.replace('"board"', '"other"'), "tracker: 'board', offered by my_board, calls itself 'other'"),
    ],
)
def test_one_that_cannot_be_used_is_refused_where_it_is_chosen_only(
    source: str, told: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"my_board_{len(source)}"
    write_package(tmp_path, module, source, "flspec.trackers", "board")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=told.replace("my_board", module)):
        run(plan, out=tmp_path / "run", trackers="board")
    assert run(plan, out=tmp_path / "run", trackers="csv").status == "completed"


def test_a_name_that_is_taken_is_refused_by_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "my_table", BOARD.replace("board", "csv"), "flspec.trackers", "csv")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="tracker: 'csv' is offered by both flspec and my_table; uninstall one"):
        find_tracker("csv")
