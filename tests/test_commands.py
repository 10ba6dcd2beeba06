"""Every make target, and every command that a page shows, is run: here, by a test that is named, or by .ci/run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import flspec

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
RELEASE = pytest.mark.release("runs what a page shows or a make target whole, for minutes")
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
# Indented, where what follows two spaces is said about it; or in a line.
SHOWN = re.compile(
    r"^ {4}(?:\$ )?((?:flspec|make|pip|pytest) \S.*?)(?: {2,}.*)?$|`((?:make|pytest) [^`]+)`", re.MULTILINE
)

CI = ".ci/run"  # in each run of it
HERE = ["help", "schema", "clean"]
HERE_FOR_A_RELEASE = {  # with what of pytest is enough to see that it runs
    "demo": "",
    "check": "-k suggestions",
    "conformance": "-k nudge",
    "golden": "-k quickstart",
    "bench": "-k aggregation",
}
TARGETS = {
    **dict.fromkeys(["setup", "tff", "test", "style"], CI),
    **dict.fromkeys(["flwr-datasets", "test-all", "mutants"], CI),  # before a release
    "support": "test_the_tables_are_what_the_engines_show",
    **dict.fromkeys(["check-newest", "check-lowest", "pins"], "a release, by hand: they ask the package index"),
    "peers": "by hand: its simulators are of others; test_a_simulator_is_timed_beside_the_floor has its code",
    "bench-baseline": "by hand, on an idle machine: test_a_slowed_kernel_fails_by_name calls what it runs",
    **dict.fromkeys([*HERE, *HERE_FOR_A_RELEASE], "here"),
}
INFO = "flspec data info data/celeba --kind celeba"
FACES, PAGE_OF_FACES = "flspec run specs/celeba_dcgan.yaml --small --out faces", "flspec report faces"
BEFORE = {PAGE_OF_FACES: FACES, INFO: "flspec data make celeba data/celeba --clients 20 --examples 60"}
COMMANDS = {  # with the exit code that is due
    "flspec new my.yaml --from quickstart": 0,
    "flspec validate spec.yaml": 2,
    INFO: 0,
    "flspec audit specs/cifar10_benchmark_private.yaml --small": 1,
}
COMMANDS_OF_A_RELEASE = {
    "flspec data make celeba data/celeba --clients 50 --examples 2000": 0,
    "flspec certify specs/quickstart.yaml": 0,
    PAGE_OF_FACES: 0,
    "flspec backends install tff": 0,
    "flspec backends doctor": 0,
}
ELSEWHERE = {
    "flspec run specs/quickstart.yaml": "test_the_table_in_the_readme_is_what_the_quickstart_prints",
    **dict.fromkeys(
        [
            "flspec run specs/digits_matrix.yaml",
            "flspec export runs/digits_matrix-local-matrix --to latex --out table.tex",
            "flspec report runs/digits_matrix-local-matrix --assets figures",
            "flspec run specs/digits_modes.yaml",
        ],
        "test_the_matrix_in_the_readme_is_what_it_prints",
    ),
    "flspec run specs/digits_private.yaml": "test_the_trade_off_in_the_readme_is_what_it_prints",
    "flspec run specs/digits_banded.yaml": "test_the_trade_off_in_the_readme_is_what_it_prints",
    "flspec run specs/mnist_private.yaml": "test_the_trade_off_in_the_readme_is_what_it_prints",
    "flspec run specs/flair/federated_pretrained.yaml --small": "test_a_shipped_spec_learns_on_its_twin",
    "flspec data info patients.csv --set label=outcome --set client=ward": "test_the_columns_in_the_readme_are_told",
    **dict.fromkeys(
        ["flspec new patients.yaml --from patients.csv", "flspec plan patients.yaml", "flspec run patients.yaml"],
        "test_three_commands_lead_from_a_table_to_the_gap_in_the_readme",
    ),
    **dict.fromkeys(
        ["flspec new reviews.yaml --from reviews.csv", "flspec plan reviews.yaml", "flspec run reviews.yaml"],
        "test_three_commands_lead_from_texts_to_a_model_that_reads_them",
    ),
    **dict.fromkeys(
        [
            "flspec certify visits.yaml --backends local,flower:inprocess",
            "flspec run visits.yaml --set 'matrix.seeds=[0,1,2]'",
        ],
        "test_an_experiment_of_ones_own_in_the_readme_is_certified_and_swept",
    ),
    "flspec plan tweets.yaml": "test_the_plan_in_the_readme_is_what_is_shown",
    FACES: "test_pictures_of_a_shipped_spec_come_nearer_to_real_ones",
    "pip install .": "test_a_shipped_spec_runs_far_from_the_repository",
    "pip install '.[flower]'": "test_every_dependency_has_a_lower_bound_that_can_be_tried",
    "pytest tests/test_architecture.py": "test_no_file_is_longer_than_400_lines",
    "pytest benchmarks/test_models.py --benchmark-enable": "test_a_page_s_benchmark_is_measured",
}


def shown(text: str) -> set[str]:
    """The commands in a page."""
    return {(block or inline).strip() for block, inline in SHOWN.findall(text)}


def everything_shown() -> set[str]:
    return {command for page in PAGES for command in shown((ROOT / page).read_text(encoding="utf-8"))}


def test_every_target_is_run_somewhere() -> None:
    assert set(TARGET.findall((ROOT / "Makefile").read_text())) == set(TARGETS)
    ci = (ROOT / CI).read_text()
    for target in (name for name, where in TARGETS.items() if where == CI):
        dependents = re.findall(rf"^([a-z-]+):[^#\n]*\b{target}\b", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert any(f"make {name}" in ci for name in (target, *dependents)), f"{CI} does not run {target}"


def test_every_command_that_a_page_shows_is_run_somewhere() -> None:
    commands = {command for command in everything_shown() if not command.startswith("make ")}
    assert commands == {*COMMANDS, *COMMANDS_OF_A_RELEASE, *ELSEWHERE}


def test_every_target_that_a_page_names_is_there() -> None:
    named = {command.split()[1] for command in everything_shown() if command.startswith("make ")}
    assert named <= set(TARGETS)


def test_every_reason_to_wait_for_a_release_is_in_the_table() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    reasons = set(re.findall(r"pytest\.mark\.release\(\s*\"([^\"]+)\"\s*\)", sources))
    table = set(re.findall(r"^\| [^|]+ \| ([^|]+) \|$", CONTRIBUTING, re.MULTILINE))
    assert len(reasons) >= 5
    assert reasons <= table


def test_a_test_that_is_said_to_run_a_command_is_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in ELSEWHERE.values():
        assert f"def {name}(" in sources


def test_a_command_that_nobody_runs_would_be_noticed() -> None:
    page = "Do:\n\n    $ flspec fly    to the moon\n\nor `make coffee`, not `flspec plan`.\n"
    assert shown(page) == {"flspec fly", "make coffee"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a page takes for granted: the shipped specs, and one that is wrong."""
    (tmp_path / "specs").symlink_to(ROOT / "specs", target_is_directory=True)
    (tmp_path / "spec.yaml").write_text("flspec: 1\nname: wrong\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code"),
    [*COMMANDS.items(), *(pytest.param(*item, marks=RELEASE) for item in COMMANDS_OF_A_RELEASE.items())],
)
def test_a_command_that_a_page_shows_runs(command: str, code: int, folder: Path) -> None:
    if command in BEFORE:
        assert flspec(folder, *shlex.split(BEFORE[command])[1:]).returncode == 0
    done = flspec(folder, *shlex.split(command)[1:])
    assert done.returncode == code, done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, which targets may change."""
    folder = tmp_path_factory.mktemp("copy") / "flspec"
    files = ("Makefile", "README.md", "CITATION.cff", "LICENSE", "conftest.py", "constraints.txt", "pyproject.toml")
    folder.mkdir()
    for name in files:
        shutil.copy(ROOT / name, folder)
    for name in ("flspec", "backends", "benchmarks", "specs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def make(copy: Path, target: str, arguments: str = "") -> subprocess.CompletedProcess[str]:
    """Run a target with the Python of the tests instead of an environment that it would make."""
    command = [
        "make",
        "--no-print-directory",
        "-o",
        ".venv/ready",
        f"BIN={Path(sys.executable).parent}",
        f"ARGS={arguments}",
        target,
    ]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=1200, check=False)


@pytest.mark.timeout(1300)
@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        *((target, "") for target in HERE),
        *(pytest.param(target, given, marks=RELEASE) for target, given in HERE_FOR_A_RELEASE.items()),
    ],
)
def test_a_target_runs(copy: Path, target: str, arguments: str) -> None:
    done = make(copy, target, arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_lists_every_target(copy: Path) -> None:
    listed = {line.split()[0] for line in make(copy, "help").stdout.splitlines()}
    assert listed == set(TARGETS)


@RELEASE
def test_a_page_s_benchmark_is_measured(copy: Path) -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks/test_models.py", "--benchmark-enable"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Rounds" in done.stdout
