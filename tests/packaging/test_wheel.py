"""A wheel on a machine that has nothing else of flspec: what is in it, and how its command behaves there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "flspec", "backends", "specs")


def run(*arguments: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, with no path by which it could find the repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    return subprocess.run(
        list(map(str, arguments)), cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def build(source: Path, folder: Path) -> Path:
    """The wheel of a source tree or archive."""
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder)
    done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def files_expected() -> set[str]:
    """The files of the repository that users need, by their path in the wheel."""
    places = {ROOT / "flspec": "flspec", ROOT / "specs": "flspec_specs"}
    places |= {folder: folder.name for folder in (ROOT / "backends").iterdir()}
    return {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in places.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def files_in(wheel: Path) -> set[str]:
    """The files of a wheel, but for its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_without_specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wrong on purpose: what is built if pyproject.toml forgets the specs."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    text = (source / "pyproject.toml").read_text()
    line = next(line for line in text.splitlines() if "flspec_specs" in line)
    (source / "pyproject.toml").write_text(text.replace(line, ""))
    return build(source, tmp_path_factory.mktemp("wrong"))


def install(wheel: Path, folder: Path) -> Path:
    """The command of a wheel that is installed into an empty environment.

    What flspec depends on is reached where the tests have it; flspec itself is not to be found there.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    command = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "flspec"


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("environment") / "venv")


# ------------------------------------------------------------------------------------------------------- what is in it


def test_a_wheel_has_what_users_need_and_nothing_else(wheel: Path) -> None:
    assert files_in(wheel) == files_expected()
    assert {"flspec/py.typed", "flspec_specs/quickstart.yaml", "flspec_specs/flair/central.yaml"} <= files_in(wheel)


def test_a_wheel_without_specs_is_noticed(wheel_without_specs: Path, tmp_path: Path) -> None:
    missing = files_expected() - files_in(wheel_without_specs)
    assert missing == {name for name in files_expected() if name.startswith("flspec_specs/")} != set()
    done = run(install(wheel_without_specs, tmp_path / "venv"), "new", "--list", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this installation has no specs" in done.stderr


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True)
    [archive] = tmp_path.glob("*.tar.gz")
    assert files_in(build(archive, tmp_path / "wheel")) == files_in(wheel)


def test_its_metadata_have_the_license_and_the_version_that_is_to_be_cited(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(".dist-info/")[2] for name in archive.namelist()}
    assert "licenses/LICENSE" in names
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


# ------------------------------------------------------------------------------------------------- how it behaves there


def test_a_shipped_spec_runs_far_from_the_repository(command: Path, tmp_path: Path) -> None:
    where = run(command.with_name("python"), "-c", "import flspec; print(flspec.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(command.parents[1])
    made = run(command, "new", "mine.yaml", "--from", "quickstart", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "mine.yaml").read_text().splitlines()[1:] == (
        ROOT / "specs" / "quickstart.yaml"
    ).read_text().splitlines()[1:]
    done = run(command, "run", "mine.yaml", "--set", "rounds=2", "--json", folder=tmp_path)
    assert done.returncode == 0
    assert [line[:19] for line in done.stderr.splitlines()] == ["local: round 1 of 2", "local: round 2 of 2"]
    assert len(json.loads(done.stdout)["rounds"]) == 2


def test_a_shipped_spec_that_extends_another_is_valid_where_it_is_copied(command: Path, tmp_path: Path) -> None:
    run(command, "new", "central.yaml", "--from", "flair/central", folder=tmp_path)
    done = run(command, "validate", "central.yaml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["backends"], ["data"]], ids=str)
def test_a_command_that_needs_another_shows_its_help(command: Path, tmp_path: Path, arguments: list[str]) -> None:
    done = run(command, *arguments, folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage: flspec" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument 'SPEC'"),
        (["validate"], "Missing argument 'SPEC...'"),
        (["compare"], "Missing argument 'PATH...'"),
        (["fly"], "No such command 'fly'"),
        (["--fly"], "--fly"),
        (["run", "a.yaml", "--fly"], "--fly"),
        (["run", "a.yaml", "b.yaml"], "b.yaml"),
        (["run", "a.yaml", "--jobs", "few"], "few"),
        (["run", "a.yaml", "--backend"], "Option '--backend' requires an argument"),
        (["run", "absent.yaml"], "absent.yaml: cannot be read"),
        (["new", "--from", "quikstart"], "did you mean 'quickstart'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_told_in_one_line(
    command: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run(command, *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
