"""`flspec rm` and `flspec clean` remove what was shown and nothing that a run needs."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from flspec.cli import tidying
from flspec.core.cache import cache_folder
from flspec.core.files import locked_folder, numbered_folder
from flspec.errors import InputError
from flspec.runs import removal
from flspec.runs.result import load_result
from flspec.runs.runner import run as execute
from flspec.spec.loading import load_spec
from tests.command_line import flspec

SPEC = """
flspec: 1
name: tidied
rounds: 4
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
cohort: {kind: uniform, size: 2}
model: {kind: softmax_regression}
client: {steps: 1, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
OLD = time.time() - 2 * 3600


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tidied")
    (folder / "spec.yaml").write_text(SPEC)
    execute(
        load_spec(
            folder / "spec.yaml", ["evaluation.best={metric: loss, on: test}", "client.optimizer.learning_rate=20"]
        ),
        "local",
        folder / "made",
    )
    return folder / "made"


@pytest.fixture
def home(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the runs tidied-1, finished, and tidied-2, killed; and a cache of its own."""
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    cache_folder().mkdir(0o700)
    for number in (1, 2):
        shutil.copytree(finished, tmp_path / "runs" / f"tidied-{number}")
    (tmp_path / "runs" / "tidied-2" / "result.json").unlink()
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Removing


def test_removed_runs_are_gone_and_their_numbers_are_not_given_again(home: Path) -> None:
    removed = flspec(home, "rm", "--yes", "--json", "runs/tidied-2")
    assert json.loads(removed.stdout)["removed"] == [str(home / "runs" / "tidied-2")]
    assert [path.name for path in sorted((home / "runs").iterdir())] == [".numbers", "tidied-1"]
    with numbered_folder(home / "runs", "tidied") as folder:
        assert folder.name == "tidied-3"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (["runs"], "runs: is no run, but has 2 inside; name those, e.g. runs/*"),
        (["empty"], "empty: is no run"),
        (["nowhere"], "nowhere: there is no such folder"),
        (["link"], "link: a link; name the folder"),
        (["runs/tidied-1", "held"], "held: a run is at work there; end it first"),
        (["runs/tidied-1", "private"], "noise.key and privacy.jsonl alone say what it has released; give --private"),
    ],
)
def test_what_is_not_to_be_removed_is_refused_and_nothing_is_removed(home: Path, named: list[str], told: str) -> None:
    (home / "empty").mkdir()
    (home / "link").symlink_to(home / "runs" / "tidied-1")
    for name in ("held", "private"):
        shutil.copytree(home / "runs" / "tidied-1", home / name)
    (home / "private" / "noise.key").write_text("00")
    (home / "private" / "privacy.jsonl").write_text('{"round":1}\n')
    before = everything(home)
    with locked_folder(home / "held"):
        refused = flspec(home, "rm", "--yes", *named)
    assert refused.returncode == 2
    assert told in refused.stderr
    assert everything(home) == before


def test_a_private_run_goes_when_that_was_said(home: Path) -> None:
    (home / "runs" / "tidied-1" / "noise.key").write_text("00")
    assert flspec(home, "rm", "--yes", "--private", "runs/tidied-1").returncode == 0
    assert not (home / "runs" / "tidied-1").exists()


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("n", False), ("", False), (None, False)])
def test_a_run_goes_only_when_the_question_is_answered_with_yes(home: Path, answer: str | None, goes: bool) -> None:
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: answer is not None))
    with mock.patch.object(tidying, "sys", terminal), mock.patch("builtins.input", return_value=answer):
        asked = flspec(home, "rm", "runs/tidied-1")
    assert (home / "runs" / "tidied-1").exists() is not goes
    assert asked.returncode == (2 if answer is None else 0 if goes else 1)


# Cleaning


def old(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_bytes(b"x" * 5000)
    else:
        path.mkdir()
        np.save(path / "train.npy", np.zeros(1000))
    os.utime(path, (OLD, OLD))
    return path


def found(home: Path, *arguments: str) -> dict[str, str]:
    """What would go, by path below the folder."""
    shown = flspec(home, "clean", "--dry-run", "--json", *arguments)
    assert shown.returncode == 0, shown.stderr
    return {str(Path(one["path"]).relative_to(home)): one["kind"] for one in json.loads(shown.stdout)["found"]}


def test_of_a_finished_run_the_earlier_states_go_and_of_an_interrupted_one_none(home: Path) -> None:
    folder = home / "runs" / "tidied-1"
    result, before = load_result(folder), everything(home)
    assert found(home) == {str(Path("runs/tidied-1/checkpoints")): "states"}
    assert everything(home) == before  # --dry-run
    assert flspec(home, "clean").returncode == 2  # nobody can be asked
    assert everything(home) == before
    assert flspec(home, "clean", "--yes").returncode == 0
    gone = set(before) - set(everything(home))
    states = {f"runs/tidied-1/checkpoints/round_{number:07}.safetensors" for number in range(1, 5)}
    assert result.best
    assert result.best.round < 4
    assert gone == (set(before) & states) - {
        f"runs/tidied-1/checkpoints/round_{number:07}.safetensors" for number in (4, result.best.round)
    }
    assert gone
    assert found(home) == {}


def test_a_run_whose_last_round_a_longer_one_does_not_store_keeps_all_states(home: Path) -> None:
    folder = home / "runs" / "tidied-1"
    result = json.loads((folder / "result.json").read_text())
    result["spec"]["evaluation"]["every"] = 3  # of 4 rounds
    (folder / "result.json").write_text(json.dumps(result, indent=2))
    assert "runs/tidied-1/checkpoints" not in found(home)


def test_a_cleaned_run_can_be_extended(home: Path) -> None:
    assert flspec(home, "clean", "--yes").returncode == 0
    spec = ("runs/tidied-1/spec.yaml", "--set", "rounds=6")
    whole = flspec(home, "run", *spec, "--out", "whole")
    longer = flspec(home, "run", *spec, "--extend", "runs/tidied-1", "--out", "longer")
    assert (whole.returncode, longer.returncode) == (0, 0), longer.stderr
    assert "round 4 of 6" not in longer.stderr  # it went on from there
    assert load_result(home / "longer").weights == load_result(home / "whole").weights


def test_of_the_cache_goes_what_can_be_made_again_and_no_run_here_names(home: Path) -> None:
    cache = cache_folder()
    named = json.loads((home / "runs" / "tidied-2" / "plan" / "plan.json").read_text())["settings"]["data"]["digest"]
    stays = [old(cache / "data" / named), old(cache / "given" / "array"), old(cache / "trusted-folders.txt")]
    new = old(cache / "data" / "new")
    os.utime(new)
    used = old(cache / "data" / "used")
    goes = [old(cache / "data" / "unnamed"), old(cache / "twins" / "t-1"), old(cache / "images" / "i.json")]
    goes.append(old(cache / "environments" / "tff-000000000000"))
    mapped = np.load(used / "train.npy", mmap_mode="r")
    assert set(found(home)) - {"runs/tidied-1/checkpoints"} == {str(path.relative_to(home)) for path in goes}
    assert flspec(home, "clean", "--yes").returncode == 0
    assert not any(path.exists() for path in goes)
    assert all(path.exists() for path in (*stays, new, used))
    assert mapped[0] == 0
    (home / "elsewhere").mkdir()
    assert f"cache/data/{named}" in found(home, "elsewhere")  # where no run names it


def test_a_folder_that_is_not_there_is_refused(home: Path) -> None:
    assert "nowhere: there is no such folder" in flspec(home, "clean", "nowhere").stderr


def test_a_killed_removal_leaves_what_can_be_removed_again(home: Path) -> None:
    run = removal.removable(home / "runs" / "tidied-1")
    with mock.patch("shutil.rmtree", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        removal.remove_run(run)
    assert not (run.folder / "result.json").exists()
    removal.remove_run(removal.removable(run.folder))
    assert not run.folder.exists()
    with pytest.raises(InputError):
        removal.removable(run.folder)
