"""Text of others reaches the terminal only escaped, whatever part of whichever file it is.

The page of a report does the same for HTML: tests/unit/report/test_report.py.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flspec.cli.consoles import console, lines
from flspec.protocol.plan import Plan
from flspec.runs.runner import run
from flspec.spec.spec import Spec
from tests.command_line import flspec

# A title for the window, a cleared screen, a link, colour by C1 control, reading from right to left, a line that looks
# like flspec's own, rich's markup, and a lone surrogate.
HOSTILE = "\x1b]0;pwn\x07\x1b[2J\x1b]8;;http://a.b\x1b\\\x9b31m\u202e\u2028\r\nflspec: fine\t[red]x[/red] :smile: \x7f"
SHOWN = "\\x1b]0;pwn\\x07\\x1b[2J"
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def acts(text: str) -> set[str]:
    """The characters of a text, line feeds apart, that a terminal or a reader's eye could be led astray by."""
    return {character for character in text if character != "\n" and unicodedata.category(character) in ACTING}


def shown(*things: Any) -> str:
    """What the console makes of some renderables."""
    with console.capture() as captured:
        for thing in things:
            console.print(thing, soft_wrap=True)
    return captured.get()


@pytest.fixture(scope="module")
def a_run(make_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run(make_plan(), "local", folder := tmp_path_factory.mktemp("runs") / "run")
    return folder


@pytest.fixture
def runs(a_run: Path, tmp_path: Path) -> Path:
    """Two runs, of which the second is a stranger's."""
    for name in ("ours", "theirs"):
        shutil.copytree(a_run, tmp_path / name)
    return tmp_path


def edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def name_a_metric(result: dict[str, Any]) -> None:
    for record in result["rounds"]:
        record["evaluation"]["test"][HOSTILE] = 1.0
        record["train"][HOSTILE] = 1.0
        record["evaluation"][HOSTILE] = {"loss": 1.0}
    result["final"]["evaluation"]["test"][HOSTILE] = 1.0
    result["final"]["evaluation"][HOSTILE] = {"loss": 1.0}


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "name": lambda result: result.update(name=HOSTILE),
    "backend": lambda result: result["backend"].update(name=HOSTILE),
    "version": lambda result: result["backend"]["versions"].update({HOSTILE: HOSTILE}),
    "metric": name_a_metric,
    "digest": lambda result: result.update(plan_digest=HOSTILE),
    "setting": lambda result: result["spec"].update({HOSTILE: HOSTILE}),
    "error": lambda result: result.update(error=HOSTILE, status="failed"),
    "weights": lambda result: result["weights"].update(path=HOSTILE),
    "an unknown key": lambda result: result.update({HOSTILE: HOSTILE}),
    "schema": lambda result: result.update(schema_version=HOSTILE),
    "environment": lambda result: result["environment"].update({HOSTILE: HOSTILE}),
}


@pytest.mark.parametrize("command", ["compare", "diff"])
@pytest.mark.parametrize("what", CHANGES)
def test_a_strangers_result_commands_no_terminal(runs: Path, what: str, command: str) -> None:
    edit(runs / "theirs" / "result.json", CHANGES[what])
    for folders in (("ours", "theirs"), ("theirs", "ours")):
        done = flspec(runs, command, *folders)
        assert acts(done.stdout + done.stderr) == set()
        assert "\nflspec: fine" not in done.stdout + done.stderr
        assert acts(flspec(runs, command, *folders, "--json").stdout) == set()


def test_a_strangers_metric_is_shown_as_it_is_spelt(runs: Path) -> None:
    edit(runs / "theirs" / "result.json", name_a_metric)
    assert SHOWN in "".join(flspec(runs, "diff", "ours", "theirs", COLUMNS="300").stdout.split())


def test_a_strangers_plan_commands_no_terminal(tmp_path: Path, make_plan: Callable[..., Plan]) -> None:
    plan = make_plan()
    plan.save(tmp_path / "ours")
    changed = dict(plan.spec) | {"name": HOSTILE, HOSTILE: {"kind": HOSTILE}}
    Plan(plan.settings, plan.arrays, changed).save(tmp_path / "theirs")
    done = flspec(tmp_path, "diff", "ours", "theirs")
    assert done.returncode == 0
    assert acts(done.stdout) == set()


def test_columns_labels_and_files_of_a_data_set_command_no_terminal(tmp_path: Path) -> None:
    (folder := tmp_path / "a\x1b[2J").mkdir()
    for name in ("train", "test"):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["a", "label", "x\x1b[2J\u202e"], [1, "[red]\x9b31m", 2], [2, "b\x1b", 3]])
    for arguments in (
        ("info", str(folder)),
        ("check", str(folder)),
        ("info", str(folder), "--set", f"label={HOSTILE}"),
    ):
        done = flspec(tmp_path, "data", *arguments, "--kind", "csv")
        assert acts(done.stdout + done.stderr) == set()


@pytest.mark.parametrize("place", ["key", "kind", "name", "file", "axis"])
def test_a_strangers_spec_commands_no_terminal(tmp_path: Path, make_spec: Callable[..., Spec], place: str) -> None:
    document = make_spec().model_dump(mode="json", exclude_none=True)
    name = "spec.yaml"
    match place:
        case "key":
            document[HOSTILE] = 1
        case "kind":
            document["model"] = {"kind": HOSTILE}
        case "name":
            document["name"] = HOSTILE
        case "file":
            name = "a\x1b[2J\nflspec: fine.yaml"
            document["rounds"] = -1
        case "axis":
            document["matrix"] = {"axes": {HOSTILE: [HOSTILE, 1]}}
    (tmp_path / name).write_text(yaml.safe_dump(document))
    for command in ("validate", "plan", "run"):
        done = flspec(tmp_path, command, name)
        assert done.returncode == 2
        assert acts(done.stdout + done.stderr) == set()
        assert "\nflspec: fine" not in done.stdout + done.stderr


# The console


def test_the_console_escapes_texts_cells_and_what_is_made_of_them() -> None:
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE, header_style="bold")
    table.add_column(lines(HOSTILE, HOSTILE))
    table.add_row(HOSTILE, Text(HOSTILE.replace("\n", " ")))
    said = shown(HOSTILE, Text(HOSTILE.replace("\n", " ")), table)
    assert acts(said) == set()
    assert "[red]x[/red] :smile:" in said


def test_a_naive_console_would_let_them_act() -> None:
    naive = Console(file=(file := io.StringIO()), width=80)
    naive.print(HOSTILE, markup=False)
    assert {"\x1b", "\x9b", "\u202e"} <= acts(file.getvalue())


def test_a_line_break_in_a_name_is_spelt_and_one_of_ours_breaks() -> None:
    assert shown("a\nb") == "a\\nb\n"
    assert shown(lines("a\nb", "c")) == "a\\nb\nc\n"


def test_a_text_without_end_is_cut() -> None:
    assert len(shown("a" * 10**6)) == 10_001


def test_columns_are_as_wide_as_the_escaped_text() -> None:
    table = Table("name", "value")
    table.add_row("\x1b[2J", "1")
    header, *_ = (line for line in shown(table).splitlines() if "name" in line)
    row, *_ = (line for line in shown(table).splitlines() if "x1b" in line)
    assert len(header) == len(row)


def test_json_has_no_character_that_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flspec.cli.output import print_json

    print_json({HOSTILE: HOSTILE})
    printed = capsys.readouterr().out
    assert acts(printed) == set()
    assert json.loads(printed) == {HOSTILE: HOSTILE}
