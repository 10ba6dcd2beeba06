"""What README shows is what happens."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest
import yaml

from flspec.compiler.compile import compile
from flspec.data.client_names import client_names
from flspec.data.store import open_data
from flspec.spec.study import load_study
from tests.command_line import flspec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """All of a language, but those that need transformers, which have a test of their own."""
    before, heading, after = README.partition("### Hugging Face and LoRA\n")
    assert heading
    text = before + after[after.index("\n### ") :]
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def visits(num: int = 240) -> Iterator[str]:
    """A table whose two features tell the outcome together, and neither alone; some outcomes are otherwise."""
    yield "hospital,dose,weight,outcome"
    draw = random.Random(0).uniform
    for number in range(num):
        dose, weight = draw(-1, 1), draw(-1, 1)
        outcome = "ill" if dose * weight + draw(-0.15, 0.15) > 0 else "healthy"
        yield f"{('north', 'south', 'east', 'west')[number % 4]},{dose:.3f},{weight:.3f},{outcome}"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with the table, and the spec and the part as README shows them."""
    (tmp_path / "visits.csv").write_text("\n".join(visits()) + "\n")
    for text in (*blocks("yaml"), *blocks("python")):
        if name := re.match(r"# (\w+\.(?:yaml|py))\n", text):
            (tmp_path / name[1]).write_text(text)
    return tmp_path


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_spec_in_the_readme_is_valid(text: str, own: Path) -> None:
    (own / "spec.yaml").write_text(text)
    load_study(own / "spec.yaml")


@pytest.mark.parametrize("name", ["quickstart", "digits_matrix"])
def test_the_readme_shows_specs_as_they_are(name: str) -> None:
    shipped = yaml.safe_load((ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert shipped in [yaml.safe_load(text) for text in blocks("yaml")]


@pytest.mark.parametrize("text", blocks("python"))
def test_every_python_block_in_the_readme_runs(text: str, own: Path) -> None:
    (own / "script.py").write_text(text.replace('"specs/', f'"{ROOT}/specs/'))
    done = subprocess.run([sys.executable, "script.py"], cwd=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_of_a_matrix_prints_the_table_that_is_shown(tmp_path: Path) -> None:
    (text,) = (block for block in blocks("python") if "spec.with_matrix(" in block)
    assert len(text.split("\n\n", 1)[1].splitlines()) <= 10
    text = text.replace('"specs/', f'"{ROOT}/specs/')
    command = [sys.executable, "-c", text]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "\n".join(printed[:3]) + "\n" in blocks("text")
    assert [line.split()[:2] for line in printed[3:]] == [
        [str(epochs), str(n)] for epochs in (1, 3) for n in range(1, 6)
    ]


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


def patients(num: int = 400) -> Iterator[str]:
    """A table as hospitals have it: semicolons, decimal commas, texts, gaps, an identifier, remarks."""
    yield "patient;hospital;age;sex;bmi;smoker;stage;note;outcome"
    draw = random.Random(14).random
    for number in range(num):
        hospital, sex = ("north", "south", "east")[int(3 * draw())], ("female", "male")[int(2 * draw())]
        age, bmi = 20 + int(70 * draw()), f"{20 + 15 * draw():.1f}".replace(".", ",") if draw() > 0.1 else "NA"
        smoker, stage = ("yes", "no", "no", "")[int(4 * draw())], ("I", "II", "III")[int(3 * draw())]
        risk = (age - 55) / 15 + (smoker == "yes") + (stage == "III") - 0.5 + 2 * (draw() - 0.5)
        note, outcome = (
            ("fell at home", "", "see letter", f"call {number}")[number % 4],
            "ill" if risk > 0 else "healthy",
        )
        yield f"P{number:03d};{hospital};{age};{sex};{bmi};{smoker};{stage};{note};{outcome}"


def test_three_commands_lead_from_a_table_to_the_gap_in_the_readme(tmp_path: Path) -> None:
    rows = list(patients())
    (tmp_path / "patients.csv").write_text("\n".join(rows) + "\n")
    section = README.partition("## Your own data")[2].partition("\n## ")[0]
    commands = re.findall(r"^    \$ flspec (.*)$", section, flags=re.MULTILINE)[:3]
    assert [command.split()[0] for command in commands] == ["new", "plan", "run"]
    assert all(f"    {row}\n" in section for row in rows[:3])
    for command in commands:
        printed = subprocess.run(
            [sys.executable, "-m", "flspec", *command.split()],
            env=os.environ | {"COLUMNS": "80"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    table = [line.split() for line in printed.splitlines() if line.strip().startswith("test")]
    assert [line[0] for line in table] == ["test", "test/sex=female", "test/sex=male", "test/sex"]
    check_shown(table)
    written = (tmp_path / "patients.yaml").read_text()
    shown = re.findall(r"^      ([a-z]+: .*#.*|# left out.*)$", section, flags=re.MULTILINE)
    assert len(shown) == 7
    assert all(f"    {line}\n" in written for line in shown)


def reviews(num: int = 300) -> Iterator[str]:
    """Reviews with a word of their mood among others, some of them quoted and some missing."""
    yield "reviewer,review,stars"
    draw = random.Random(14)
    moods = {"good": "wonderful great moving funny superb", "bad": "boring dull awful weak noisy"}
    rest = ["the", "film", "was", "and", "a", "plot", "of", "this", "acting", "in", "scenes", "with", "story", "it"]
    for number in range(num):
        mood = draw.choice(["good", "bad"])
        said = [draw.choice(rest) for _ in range(draw.randint(6, 14))]
        said.insert(draw.randrange(len(said)), draw.choice(moods[mood].split()))
        text = " ".join(said).capitalize()
        text = "" if number % 60 == 7 else f"{text}." if number % 9 else f'"{text}, really?"'
        yield f"{draw.choice(['ann', 'bob', 'cy', 'dee'])},{text},{mood}"


def test_three_commands_lead_from_texts_to_a_model_that_reads_them(tmp_path: Path) -> None:
    rows = list(reviews())
    (tmp_path / "reviews.csv").write_text("\n".join(rows) + "\n")
    section = README.partition("**Texts.**")[2].partition("\n## ")[0]
    commands = re.findall(r"^    \$ flspec (.*)$", section, flags=re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["new", "plan", "run"]
    assert all(f"    {row}\n" in section for row in rows[:3])
    made, planned, ran = (flspec(tmp_path, *command.split(), COLUMNS="300") for command in commands)
    assert made.returncode == 0, made.stderr
    told = re.findall(r"^    ((?:review|texts|tokens) .*)$", section, flags=re.MULTILINE)
    assert len(told) == 4
    assert all(line in planned.stdout for line in told), planned.stdout + planned.stderr
    assert ran.returncode == 0, ran.stderr
    (result,) = tmp_path.glob("runs/*/result.json")
    assert json.loads(result.read_text())["final"]["evaluation"]["test"]["accuracy"] > 0.9  # half of it by chance


def test_an_experiment_of_ones_own_in_the_readme_is_certified_and_swept(own: Path) -> None:
    section = README.partition("### An experiment of your own, whole")[2].partition("\n## ")[0]
    commands = re.findall(r"^    \$ (flspec .*)$", section, flags=re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == ["certify", "run"]
    assert all(f"    {row}\n" in section for row in list(visits())[:3])
    certified, swept = (flspec(own, *shlex.split(command)[1:], COLUMNS="80") for command in commands)
    assert (certified.returncode, swept.returncode) == (0, 0), certified.stderr + swept.stderr
    told = ("bit-identical", " ± 0")
    rows = [
        line.split() for line in (certified.stdout + swept.stdout).splitlines() if any(part in line for part in told)
    ]
    assert [row[0] for row in rows] == ["flower:inprocess", "3"]
    check_shown(rows)
    (certificate,) = own.glob("certificates/*/certificate.json")
    assert json.loads(certificate.read_text())["backends"]["flower:inprocess"]["bitwise"]
    plan = compile(own / "visits.yaml")
    assert f"visits: 20 rounds against local, plan {plan.digest[:12]}\n" in section
    assert sorted(client_names(plan, open_data(plan.settings.data))) == ["east", "north", "south", "west"]


def test_each_of_its_files_counts_in_its_digest(own: Path) -> None:
    before = compile(own / "visits.yaml").digest
    part = own / "my_parts.py"
    for old, new in [("Dropout(0.2)", "Dropout(0.3)"), ("gamma: float = 2.0", "gamma: float = 2.5"), ("!= 1", "== 0")]:
        text = part.read_text()
        assert text.count(old) == 1
        part.write_text(text.replace(old, new))
        assert compile(own / "visits.yaml").digest != before, old
        part.write_text(text)
    assert compile(own / "visits.yaml").digest == before


@pytest.mark.parametrize(("name", "num_rows"), [("digits_matrix", 6), ("digits_modes", 3)])
def test_the_matrix_in_the_readme_is_what_it_prints(tmp_path: Path, name: str, num_rows: int) -> None:
    check_matrix(tmp_path, name, num_rows)
    if name == "digits_matrix":
        check_paper_table(tmp_path)
    sweep = f"runs/{name}-local-matrix"  # as the README goes on
    assert flspec(tmp_path, "report", sweep, "--assets", "figures").returncode == 0
    assert (tmp_path / "figures" / "figure-01-1-test-accuracy.png").exists()
    assert (tmp_path / sweep / "report.html").stat().st_size < 400_000


@pytest.mark.release("runs what a page shows or a make target whole, for minutes")
@pytest.mark.parametrize("name", ["digits_private", "digits_banded", "mnist_private"])
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


SHOWN = ("loss", "accuracy")


def check_paper_table(folder: Path) -> None:
    """Hold the table in LaTeX to the raw rows, whose means and deviations pandas takes."""
    (command,) = re.findall(r"^    (flspec export .*)$", README, flags=re.MULTILINE)
    assert flspec(folder, *shlex.split(command)[1:]).returncode == 0
    lines = (folder / "table.tex").read_text(encoding="utf-8").splitlines()
    body = lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]
    shown = {(cells[0], cells[1]): cells[2:] for cells in (line.removesuffix(" \\\\").split(" & ") for line in body)}
    assert flspec(folder, "export", *command.split()[2:3], "--to", "csv", "--out", "rows.csv").returncode == 0
    rows = pandas.read_csv(folder / "rows.csv")
    rows = rows[(rows["split"] == "test") & (rows["round"] == 20)]
    for num_less, is_right in ((1, True), (0, False)):  # 0: the deviation of a whole population
        cells = rows.groupby(["partition.alpha", "aggregator", "metric"])["value"]
        means, deviations = cells.mean(), cells.std(ddof=num_less)
        found = {
            (f"{alpha:g}", kind): [
                f"{means[alpha, kind, m]:.4f} $\\pm$ {deviations[alpha, kind, m]:.4f}" for m in SHOWN
            ]
            for alpha, kind, _ in means.index
        }
        assert len(found) == 6
        assert ({key: ["3", *values] for key, values in found.items()} == shown) == is_right


def test_the_readme_names_the_plan_it_shows_and_leaves_nothing_to_fill_in(tmp_path: Path) -> None:
    digest = compile(ROOT / "specs" / "quickstart.yaml").digest[:12]
    assert README.count(f"plan {digest}") == 2
    assert "@@" not in README
