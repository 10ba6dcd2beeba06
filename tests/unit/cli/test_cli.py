"""The command line: exit codes, where things are printed, and that wrong input leaves nothing behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from flspec.core.text import first_steps_in_words
from flspec.runs.result import load_result
from flspec.spec.spec import Spec
from tests.command_line import flspec, flspec_apart
from tests.processes import wait_until


def write_spec(folder: Path, spec: Spec) -> None:
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False))


COMMANDS = (
    *("schema", "list", "new", "validate", "plan", "run", "certify", "audit", "compare", "backends", "data"),
    *("report", "runs", "show", "reproduce", "rm", "clean", "export", "bundle", "predict"),
)


@pytest.fixture
def folder(tmp_path: Path, make_spec: Callable[..., Spec]) -> Path:
    write_spec(tmp_path, make_spec())
    (tmp_path / "wrong.yaml").write_text("flspec: 1\nname: wrong\nrounds: ten\nseeed: 1\n")
    return tmp_path


@pytest.mark.parametrize("arguments", [[], *([command] for command in COMMANDS), ["backends", "doctor"]])
def test_help_fits_a_screen(folder: Path, arguments: list[str]) -> None:
    done = flspec(folder, *arguments, "--help", COLUMNS="80", LINES="40")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 40
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_version_is_the_distribution_s(folder: Path) -> None:
    from importlib.metadata import version

    assert (
        flspec(folder, "--version").stdout
        == flspec_apart(folder, "--version").stdout
        == f"flspec {version('flspec')}\n"
    )


@pytest.mark.parametrize("arguments", [[], ["backends"], ["data"]])
def test_a_command_that_needs_another_shows_help(folder: Path, arguments: list[str]) -> None:
    done = flspec(folder, *arguments)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage: " in done.stdout


def test_a_suggestion_is_made_once(folder: Path) -> None:
    assert flspec(folder, "rnu").stderr.count("Did you mean 'run'?") == 1


def test_a_number_that_is_refused_is_told(folder: Path) -> None:
    stderr = flspec(folder, "run", "spec.yaml", "--jobs", "-7").stderr
    assert "--jobs" in stderr
    assert "-7" in stderr


def test_ctrl_c_is_told(folder: Path) -> None:
    source = (
        "import os, signal; from flspec.cli import starting, main;"
        "starting._list_shipped = lambda as_json: os.kill(os.getpid(), signal.SIGINT); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, "new", "--list"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "flspec: interrupted\n")


def test_validate_tells_every_problem_on_a_line_of_its_own(folder: Path) -> None:
    done = flspec(folder, "validate", "spec.yaml", "wrong.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("wrong.yaml: dataset: missing")
    assert 'wrong.yaml:3:1: rounds: expected an integer, got text "ten"' in lines
    assert "wrong.yaml:4:1: seeed: unknown key 'seeed'; did you mean 'seed'?" in lines
    assert len(lines) == 6


def test_problems_are_objects_under_json(folder: Path) -> None:
    done = flspec(folder, "validate", "wrong.yaml", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert {"file": "wrong.yaml", "line": 3, "column": 1, "path": "rounds"}.items() <= document["problems"][4].items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "absent.yaml"], "absent.yaml: cannot be read"),
        (["run", "."], ".: not a file; name a spec"),
        (["run", "wrong.yaml"], "wrong.yaml:3:1: rounds"),
        (["run", "spec.yaml", "--backend", "flowr"], "unknown 'flowr'; did you mean 'flower'? choose one of flower"),
        (["run", "spec.yaml", "--backend", "flower:rai"], "no variant 'rai'; choose flower:ray, flower:inprocess"),
        (["run", "spec.yaml", "--backend", "local:fast"], "no variant 'fast'; choose local:threads, local:processes"),
        (["run", "spec.yaml", "--resume"], "--resume: name the interrupted run with --out"),
        (["run", "spec.yaml", "--resume", "--out", "nowhere"], "nowhere holds no run to go on with; leave"),
        (["run", "spec.yaml", "--workers", "-1"], "--workers"),
        (["run", "spec.yaml", "--out", "wrong.yaml"], "wrong.yaml"),
        (["certify", "spec.yaml", "--backends", "local"], "two different ones"),
        (["certify", "spec.yaml", "--backends", "lokal,local"], "unknown 'lokal'; did you mean 'local'?"),
        (["certify", "spec.yaml", "--first-steps", "0"], "--first-steps"),
        (["certify", "spec.yaml", "--first-steps", "-1"], "--first-steps"),
        (["certify", "spec.yaml", "--first-steps", "two"], "--first-steps"),
        (["certify", "spec.yaml", "--first-steps", "4"], "first steps: 4 are more than any task has; give 1 to 3, or"),
        (["compare", "nowhere"], "nowhere does not exist"),
        (["backends", "install", "flower"], "'flower' has no environment of its own"),
        (["plan"], "SPEC"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(folder: Path, arguments: list[str], message: str) -> None:
    before = sorted(path.name for path in folder.iterdir())
    done = flspec(folder, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == before


def test_run_prints_its_table_and_a_line_a_round_when_it_is_not_on_a_terminal(folder: Path) -> None:
    done = flspec(folder, "run", "spec.yaml")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"local: round {number} of 3" for number in (1, 2, 3)]
    assert all(re.fullmatch(r".*, test accuracy \d\.\d{4} loss \d\.\d{4}, \d+\.\d\d s", line) for line in lines)
    assert "\x1b" not in done.stdout + done.stderr
    assert "small on local" in done.stdout
    assert (folder / "runs" / "small-local-1" / "result.json").is_file()
    assert (folder / "runs" / "small-local-1" / "spec.yaml").read_text() == (folder / "spec.yaml").read_text()


def test_run_gives_its_result_as_json(folder: Path) -> None:
    done = flspec(folder, "run", "spec.yaml", "--out", "r", "--json")
    document = json.loads(done.stdout)
    folder_of_run = document.pop("folder")
    assert document == json.loads((folder / folder_of_run / "result.json").read_text())


def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "flspec", "run", "spec.yaml", "--out", "r"],
        cwd=folder,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        process.communicate()
    os.close(ours)
    assert process.returncode == 0
    assert b"local" in shown
    assert b"test accuracy" in shown


@pytest.mark.parametrize(("before", "code"), [("trap '' HUP; ", 0), ("", 129)], ids=["nohup", "as it is"])
def test_a_lost_terminal_ends_a_run_unless_nohup_says_otherwise(folder: Path, before: str, code: int) -> None:
    run = [sys.executable, "-m", "flspec", "run", "spec.yaml", "--set", "rounds=150", "--out", "r"]
    with subprocess.Popen(
        ["sh", "-c", before + 'exec "$@"', "sh", *run],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    ) as process:
        events = folder / "r" / "events.jsonl"
        wait_until(lambda: events.exists() and "round_finished" in events.read_text())
        process.send_signal(signal.SIGHUP)
    assert process.returncode == code
    assert load_result(folder / "r").status == ("interrupted" if code else "completed")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""


def test_plan_explains_without_training(folder: Path) -> None:
    done = flspec(folder, "plan", "spec.yaml", "--out", "p", "--json")
    document = json.loads(done.stdout)
    assert document["clients"].items() >= {"num": 5, "min_examples": 12, "max_examples": 12}.items()
    assert document["rounds"].items() >= {"num": 3, "max_cohort": 3, "max_steps": 3}.items()
    assert document["model"]["num_parameters"] == 51
    assert document["backends"]["local"] == []
    from flspec.protocol.plan import Plan

    assert Plan.load(folder / "p").digest == document["plan_digest"]


def test_compare_says_when_runs_answer_different_questions(folder: Path, make_spec: Callable[..., Spec]) -> None:
    for out, rounds in (("a", 3), ("b", 3), ("c", 2)):
        write_spec(folder, make_spec(rounds=rounds))
        assert flspec(folder, "run", "spec.yaml", "--out", out).returncode == 0
    alike = flspec(folder, "compare", "a", "b", "--json", "--out", "report.html")
    document = json.loads(alike.stdout)
    assert document["warnings"] == []
    assert document["runs"][1]["same_weights"] is True
    assert document["runs"][1]["weights_diff"] == 0.0
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    different = flspec(folder, "compare", "a", "c")
    assert different.returncode == 0
    assert "too few seeds" in different.stdout
    assert {"rounds", "3", "2"} <= set(different.stdout.split())


def test_a_spec_is_compared_by_what_backends_make_of_it(folder: Path) -> None:
    shown = flspec(folder, "compare", "spec.yaml", "--backends", "local,flower:inprocess", "--json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["backends"]["flower:inprocess"]["bitwise"]
    assert (folder / document["folder"] / "report.html").exists()
    for wrong in (("spec.yaml", "spec.yaml"), ("spec.yaml", "--metric", "loss"), ("spec.yaml", "--out", "r.html")):
        refused = flspec(folder, "compare", *wrong)
        assert (refused.returncode, "one spec at a time" in refused.stderr) == (2, True)


def test_a_report_does_not_replace_what_is_no_report(folder: Path) -> None:
    flspec(folder, "run", "spec.yaml", "--out", "a")
    before = (folder / "a" / "result.json").read_bytes()
    assert flspec(folder, "compare", "a", "--out", "a/result.json").returncode == 2
    assert (folder / "a" / "result.json").read_bytes() == before


def test_a_closed_stdout_is_no_crash(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m flspec validate spec.yaml spec.yaml | true",
        cwd=folder, shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_backends_are_listed_with_what_is_missing(folder: Path) -> None:
    document = json.loads(flspec(folder, "backends", "list", "--json", FLSPEC_CACHE=str(folder / "empty")).stdout)
    assert document["local"]["missing"] is None or document["local"]["missing"] == ""
    assert "flspec backends install tff" in document["tff"]["missing"]
    assert document["flower"]["variants"] == ["ray", "inprocess"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flspec", "plan", "spec.yaml", "--json"],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_says_what_an_argument_is(folder: Path) -> None:
    assert "A spec, e.g. specs/quickstart.yaml." in flspec(folder, "run", "--help", COLUMNS="80").stdout


def test_a_certificate_of_first_steps_says_so_everywhere(folder: Path) -> None:
    arguments = ["certify", "spec.yaml", "--backends", "local,flower:inprocess", "--first-steps", "2", "--out", "c"]
    shown = flspec(folder, *arguments, COLUMNS="200")
    assert shown.returncode == 0
    words = "first 2 steps of each"
    assert first_steps_in_words(1) == "of the first step of each task"
    assert words in shown.stdout.splitlines()[0]
    page = (folder / "c" / "report.html").read_text()
    assert page.count(words) >= 3  # the sentence, the table, the plan
    document = json.loads((folder / "c" / "certificate.json").read_text())
    assert document["first_steps"] == 2
    whole = json.loads(flspec(folder, "plan", "spec.yaml", "--json").stdout)
    assert whole["plan_digest"] != document["plan_digest"]
