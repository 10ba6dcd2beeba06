"""Environments are whole or not there, whatever interrupts their making, and run this process's own flspec."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flspec.errors import BackendError, InputError
from flspec.execution import environments
from flspec.execution.doctor import Diagnosis, examine
from flspec.execution.environments import (
    environment_folder,
    environment_python,
    find_environment,
    install_environment,
    is_installed,
    remove_environment,
)
from flspec.protocol.registry import installed_backends
from flspec.protocol.requirements import Environment
from tests.processes import wait_until
from tests.unit.execution.installing import TOY, Told, contents, pinned, script, write_backend

# What stands in for pip: it gets the requirements file and is run by the new environment's interpreter.
INSTALLS = """
import pathlib, sysconfig
print('Collecting toy-engine==1.0')
print('Installing collected packages: toy-engine')
pathlib.Path(sysconfig.get_path('purelib'), 'toy_engine.py').touch()
"""

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="virtual environments are laid out otherwise"),
    pytest.mark.usefixtures("toy"),
]


# Making


def test_an_installed_environment_is_not_made_again(pip_that: Callable[[str], None]) -> None:
    pip_that(INSTALLS)
    folder = install_environment("toy")
    pip_that("raise SystemExit('installed twice')")
    told: list[str] = []
    assert install_environment("toy", told.append) == folder
    assert told == []


def test_an_interrupted_installation_ends_pip_and_starts_over(
    pip_that: Callable[[str], None], tmp_path: Path, toy: Environment
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("downloading 1 of 1"):
            raise KeyboardInterrupt

    note = tmp_path / "pid"
    pip_that(
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); print('Collecting a'); time.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt):
        install_environment("toy", interrupt)
    assert not psutil.pid_exists(int(note.read_text()))
    assert contents(environment_folder(toy)) == ["install.log"]
    assert not is_installed(toy)
    pip_that(INSTALLS)
    assert install_environment("toy") == environment_folder(toy)
    assert is_installed(toy)


def test_after_a_kill_the_next_waits_for_the_orphans_and_starts_over(
    pip_that: Callable[[str], None], tmp_path: Path, toy: Environment
) -> None:
    told, note = Told(tmp_path / "waited"), tmp_path / "note"
    orphan = "pathlib.Path(sys.prefix, 'half').touch()"  # it still works on the folder
    pip_that(f"import pathlib, sys, time; pathlib.Path({str(note)!r}).touch()\n{told.awaited}\n{orphan}")
    process = multiprocessing.get_context("fork").Process(target=install_environment, args=("toy",))
    process.start()
    wait_until(note.exists)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not is_installed(toy)
    pip_that(INSTALLS)
    folder = install_environment("toy", told.append)
    assert told[0].startswith("waiting for another process")
    assert is_installed(toy)
    assert "half" not in contents(folder)


def test_of_two_at_once_one_installs_and_the_other_waits(pip_that: Callable[[str], None], tmp_path: Path) -> None:
    told, note = Told(tmp_path / "waited"), tmp_path / "note"
    pip_that(f"{INSTALLS}\nimport time; open({str(note)!r}, 'a').write('x')\n{told.awaited}")
    gate = threading.Barrier(2)

    def install(number: int) -> Path:
        gate.wait()
        return install_environment("toy", told.append)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(install, range(2))
    assert first == second
    assert note.read_text() == "x"
    assert [line for line in told if line.startswith("waiting")]


def test_a_failure_names_the_log_and_its_telling_line(pip_that: Callable[[str], None], toy: Environment) -> None:
    pip_that("print('ERROR: No matching distribution found for toy==1\\n\\nWARNING: old pip'); raise SystemExit(1)")
    with pytest.raises(BackendError) as caught:
        install_environment("toy")
    log = environment_folder(toy) / "install.log"
    assert str(caught.value) == f"installation failed: No matching distribution found for toy==1; see {log}"
    assert contents(environment_folder(toy)) == ["install.log"]


def test_a_failure_is_not_explained_by_an_earlier_one(pip_that: Callable[[str], None]) -> None:
    for code in ("raise SystemExit('ERROR: the first')", "print('the second\\nWARNING: old pip'); raise SystemExit(1)"):
        pip_that(code)
        with pytest.raises(BackendError) as caught:
            install_environment("toy")
    assert "installation failed: the second;" in str(caught.value)


def test_a_killed_step_is_told_by_its_signal(pip_that: Callable[[str], None]) -> None:
    pip_that("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(BackendError, match="killed by SIGKILL"):
        install_environment("toy")


def test_an_engine_that_cannot_be_imported_is_not_installed(pip_that: Callable[[str], None], toy: Environment) -> None:
    pip_that("pass")
    with pytest.raises(BackendError, match="No module named 'toy_engine'"):
        install_environment("toy")
    assert not is_installed(toy)


def test_a_refusal_of_the_operating_system_says_what_to_do(
    pip_that: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_that(INSTALLS)
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="Not a directory; correct that or set FLSPEC_CACHE"):
        install_environment("toy")


# Trusting


@pytest.fixture
def installed(pip_that: Callable[[str], None]) -> Path:
    """The folder of the toy environment, which is installed, in a cache that others may look into."""
    pip_that(INSTALLS)
    folder = install_environment("toy")
    folder.parents[1].chmod(0o755)
    return folder


def test_changed_sources_are_refused_told_by_the_doctor_and_written_again(installed: Path, toy: Environment) -> None:
    (changed,) = installed.glob("flspec/*/lib/python*/site-packages/toy_backend/backend.py")
    changed.write_text("", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        environment_python(toy)
    told = f"{changed} was changed since flspec wrote it"
    assert str(caught.value) == (f"backend: {told}; run 'flspec backends install toy', which writes it again")
    assert examine("toy") == Diagnosis("toy", "broken", detail=told, remedy="flspec backends install toy")
    install_environment("toy")
    assert changed.read_text(encoding="utf-8")
    assert environment_python(toy).exists()


def test_a_package_that_was_changed_is_told_by_the_doctor(installed: Path) -> None:
    (engine,) = installed.glob("lib/python*/site-packages/toy_engine.py")
    again = "flspec backends remove toy, then flspec backends install toy"
    told = f"{engine} belongs to no package"  # since the script in the place of pip notes nothing
    assert examine("toy") == Diagnosis("toy", "broken", detail=told, remedy=again)


def test_an_environment_that_others_may_change_is_refused_and_told_by_the_doctor(
    installed: Path, toy: Environment
) -> None:
    installed.chmod(0o777)
    with pytest.raises(
        InputError, match=f"^{installed} may be changed by everybody .*; run 'flspec backends remove toy'"
    ):
        environment_python(toy)
    found = examine("toy")
    assert (found.status, found.remedy) == ("broken", "run 'flspec backends remove toy' and install it again")
    assert found.detail.startswith(f"{installed} may be changed by everybody")


# Finding


def test_a_folder_without_its_mark_is_not_an_environment(pip_that: Callable[[str], None], toy: Environment) -> None:
    pip_that(INSTALLS)
    install_environment("toy")
    assert environment_python(TOY).exists()
    (environment_folder(toy) / "complete").unlink()
    with pytest.raises(InputError) as caught:
        environment_python(TOY)
    others = ", ".join(name for name in installed_backends() if name != "toy")
    assert "local" in others
    assert str(caught.value) == (
        "backend: toy is not installed; run 'flspec backends install toy' (about 0.1 GB, minutes), "
        f"or use one of: {others}"
    )


def test_an_environment_whose_python_is_gone_is_not_installed(
    pip_that: Callable[[str], None], toy: Environment
) -> None:
    pip_that(INSTALLS)
    python = install_environment("toy") / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert not is_installed(toy)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    for function in (find_environment, install_environment, remove_environment):
        with pytest.raises(InputError, match="'flower' has no environment of its own; those that have: tff, toy"):
            function("flower")


def test_another_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    calls: list[Callable[[], Path]] = [lambda: environment_python(TOY), lambda: install_environment("toy")]
    for call in calls:
        with pytest.raises(
            InputError, match=r"Toy runs on Linux x86_64 only, this is Linux arm64; use one of: .*local"
        ):
            call()


def test_removing_takes_every_environment_of_the_name(pip_that: Callable[[str], None], tmp_path: Path) -> None:
    pip_that(INSTALLS)
    first = install_environment("toy")
    write_backend(tmp_path / "packages", pinned("1.1"))
    second = install_environment("toy")
    assert sorted(remove_environment("toy")) == sorted([first, second])
    assert not first.exists()
    assert not second.exists()


def test_removing_leaves_the_environments_of_names_that_begin_alike(tmp_path: Path) -> None:
    other = tmp_path / "cache" / "environments" / "toy-nightly-0123456789ab"
    other.mkdir(parents=True)
    assert remove_environment("toy") == []
    assert other.exists()


def test_a_backend_that_cannot_be_imported_is_not_in_the_way_of_others(tmp_path: Path) -> None:
    info = tmp_path / "packages" / "torn-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[flspec.backends]\ntorn = no_such_package:Backend\n")
    assert find_environment("toy") == TOY
    with pytest.raises(InputError, match="'torn' is installed but cannot be loaded"):
        find_environment("torn")


# Python


@pytest.fixture
def no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs another version than the one that is wanted, which is 3.11, and there is no other."""
    monkeypatch.setattr(environments, "find_environment", lambda name: replace(TOY, python=(3, 11)))
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "other" / "python", "echo 3 9")))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("PYENV_ROOT", "XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_python")
def test_without_a_python_of_the_version_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        install_environment("toy")
    assert str(caught.value) == (
        "Toy needs Python 3.11, not found; install it (e.g. apt install python3.11 python3.11-venv, "
        "pyenv install 3.11 or uv python install 3.11) and run again"
    )
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("no_python")
@pytest.mark.parametrize(
    "place",
    [
        "bin/python3.11",
        "home/.pyenv/versions/3.11.7/bin/python",
        "home/.local/share/uv/python/cpython-3.11.9-linux-x86_64-gnu/bin/python3.11",
    ],
)
def test_a_python_is_found_where_people_keep_them(place: str, tmp_path: Path) -> None:
    python = script(tmp_path / place, "echo 3 11")
    assert environments._find_python(replace(TOY, python=(3, 11))) == python


@pytest.mark.usefixtures("no_python")
@pytest.mark.parametrize("shim", ["exit 127", "echo 3 10", "echo nonsense", "echo"])
def test_a_python_that_cannot_be_used_is_passed_over(
    shim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'bin'}")
    script(tmp_path / "shims" / "python3.11", shim)
    python = script(tmp_path / "bin" / "python3.11", "echo 3 11")
    assert environments._find_python(replace(TOY, python=(3, 11))) == python
