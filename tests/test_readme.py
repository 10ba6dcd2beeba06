"""What README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flspec.compiler.compile import compile
from flspec.spec.study import parse_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_spec_in_the_readme_is_valid(text: str) -> None:
    parse_study(text)


@pytest.mark.parametrize("name", ["quickstart", "digits_matrix"])
def test_the_readme_shows_specs_as_they_are(name: str) -> None:
    shipped = yaml.safe_load((ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert shipped in [yaml.safe_load(text) for text in blocks("yaml")]


@pytest.mark.parametrize("text", blocks("python"))
def test_every_python_block_in_the_readme_runs(text: str, tmp_path: Path) -> None:
    text = text.replace('"specs/', f'"{ROOT}/specs/')
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_table_in_the_readme_is_what_the_quickstart_prints(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flspec", "run", str(ROOT / "specs" / "quickstart.yaml"), "--out", "run"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = [line.rsplit(maxsplit=1)[0].split() for line in printed.splitlines() if re.match(r" +\d+ +\d", line)]
    assert len(rows) == 10
    check_shown(rows)


def check_shown(rows: list[list[str]]) -> None:
    shown = [line.split() for line in README.splitlines()]
    for row in rows:
        assert any(line[: len(row)] == row for line in shown), f"README does not show {row}"


def test_the_columns_in_the_readme_are_told(tmp_path: Path) -> None:
    rows = ["01,71,1.70,fell,yes", "1,64,1.62,,no", "E1,,1.81,ok,no", "01,55,1.77,ok,yes"]
    (tmp_path / "patients.csv").write_text("\n".join(["ward,age,height,note,outcome", *rows]))
    (command,) = re.findall(r"^    \$ flspec (data info patients.*)$", README, flags=re.MULTILINE)
    printed = subprocess.run(
        [sys.executable, "-m", "flspec", *command.split()], cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "80"},
    ).stdout  # fmt: skip
    check_shown([line.split() for line in printed.splitlines() if line.strip()])


@pytest.mark.parametrize(("name", "num_rows"), [("digits_matrix", 6), ("digits_modes", 3)])
def test_the_matrix_in_the_readme_is_what_it_prints(tmp_path: Path, name: str, num_rows: int) -> None:
    check_matrix(tmp_path, name, num_rows)


@pytest.mark.release("runs what a page shows or a make target whole, for minutes")
@pytest.mark.parametrize("name", ["digits_private", "mnist_private"])
def test_the_trade_off_in_the_readme_is_what_it_prints(
    tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    if name.startswith("mnist"):
        request.getfixturevalue("mnist_root")
    check_matrix(tmp_path, name, 4)


def check_matrix(tmp_path: Path, name: str, num_rows: int) -> None:
    command = [sys.executable, "-m", "flspec", "run", str(ROOT / "specs" / f"{name}.yaml")]
    printed = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "100"}
    ).stdout
    rows = [line.split() for line in printed.splitlines() if "±" in line and "sd" not in line]
    assert len(rows) == num_rows
    check_shown(rows)


def test_the_readme_names_the_plan_it_shows_and_leaves_nothing_to_fill_in(tmp_path: Path) -> None:
    digest = compile(ROOT / "specs" / "quickstart.yaml").digest[:12]
    assert README.count(f"plan {digest}") == 2
    assert "@@" not in README
