"""A worker's interpreter imports the flspec of the process that asked for it, whatever happens to the sources later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from flspec.errors import InputError
from flspec.execution.sources import discard, python_with_flspec, why_altered

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="virtual environments are laid out otherwise")

Writer = Callable[[int], None]


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A Python environment, without flspec."""
    venv.create(tmp_path / "environment", symlinks=True)
    return tmp_path / "environment"


@pytest.fixture
def write_toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes the package `toy_backend` with another answer; it is installed here as the backend `toy`."""
    package, info = tmp_path / "packages" / "toy_backend", tmp_path / "packages" / "toy_backend-1.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-backend\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[flspec.backends]\ntoy = toy_backend:ToyBackend\n")
    source = "ANSWER = {}\nclass ToyBackend:\n    def __init__(self, variant): pass\n"

    def write(answer: int) -> None:
        (package / "__init__.py").write_text(source.format(answer))

    write(1)
    monkeypatch.syspath_prepend(package.parent)
    return write


def ask(python: Path, code: str) -> str:
    """What `code` prints in an environment; what flspec itself needs is borrowed from the tests' own."""
    borrow = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})"
    answer = subprocess.run([python, "-I", "-c", f"{borrow}\n{code}"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def answer(python: Path) -> str:
    return ask(python, "import toy_backend; print(toy_backend.ANSWER)")


@pytest.mark.usefixtures("write_toy")
def test_a_worker_finds_this_flspec_and_only_its_own_backend(environment: Path) -> None:
    python = python_with_flspec(environment, "toy_backend")
    code = "import flspec, flspec.protocol.registry as b; "
    code += "print(flspec.__file__, *b.installed_backends(), b.find_backend('toy'))"
    file, backend, found = ask(python, code).split(maxsplit=2)
    assert file.startswith(str(environment))
    assert backend == "toy"
    assert "toy_backend.ToyBackend" in found


@pytest.mark.usefixtures("write_toy")
def test_what_is_installed_in_the_environment_can_be_imported_with_its_path_files(environment: Path) -> None:
    (library,) = environment.glob("lib/python*/site-packages")
    (library / "engine.py").write_text("NAME = 'steam'\n")
    (library / "engine.pth").write_text("import sys; sys.toy = 5\n")
    python = python_with_flspec(environment, "toy_backend")
    assert ask(python, "import engine; print(engine.NAME, sys.toy)") == "steam 5"


def test_a_changed_source_reaches_new_workers_and_spares_running_ones(environment: Path, write_toy: Writer) -> None:
    before = python_with_flspec(environment, "toy_backend")
    assert python_with_flspec(environment, "toy_backend") == before
    write_toy(2)
    after = python_with_flspec(environment, "toy_backend")
    assert [answer(python) for python in (before, after)] == ["1", "2"]


@pytest.mark.usefixtures("write_toy")
def test_the_sources_are_compiled(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    layer = python_with_flspec(environment, "toy_backend").parent.parent
    assert list(layer.glob("lib/python*/site-packages/flspec/__pycache__/errors.*.pyc"))


def test_sources_that_nobody_asked_for_in_a_week_are_removed(environment: Path, write_toy: Writer) -> None:
    layers = []
    for number in (1, 2, 3):
        write_toy(number)
        layers.append(python_with_flspec(environment, "toy_backend").parent.parent)
    ten_days_ago = time.time() - 10 * 86400
    for layer in layers:
        os.utime(layer, (ten_days_ago, ten_days_ago))
    python_with_flspec(environment, "toy_backend")  # the third is asked for again
    write_toy(4)
    python_with_flspec(environment, "toy_backend")
    assert [layer.exists() for layer in layers] == [False, False, True]


@pytest.mark.usefixtures("write_toy")
def test_an_interrupted_copy_is_never_used(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*command: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("subprocess.run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            python_with_flspec(environment, "toy_backend")
    assert list((environment / "flspec").iterdir()) == []
    assert answer(python_with_flspec(environment, "toy_backend")) == "1"


@pytest.mark.usefixtures("write_toy")
def test_whoever_comes_second_uses_the_copy_of_the_first(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = python_with_flspec(environment, "toy_backend")
    layer = first.parent.parent
    shutil.move(layer, environment / "aside")
    compile_all = subprocess.run

    def finish_first(*command: Any, **options: Any) -> None:
        compile_all(*command, **options)
        (environment / "aside").rename(layer)

    monkeypatch.setattr("subprocess.run", finish_first)
    assert python_with_flspec(environment, "toy_backend") == first
    assert list((environment / "flspec").iterdir()) == [layer]


# Layers that somebody has changed

LIBRARY = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def edit(path: Path) -> None:
    """Change one byte, and neither size nor times."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(sys.executable)


CHANGES: list[tuple[str, Callable[[Path], None], str]] = [
    (f"{LIBRARY}/flspec/errors.py", edit, "was changed since flspec wrote it"),
    (f"{LIBRARY}/toy_backend/__init__.py", edit, "was changed since flspec wrote it"),
    (f"{LIBRARY}/flspec/core/__pycache__/cache.{sys.implementation.cache_tag}.pyc", edit, "was changed since"),
    (f"{LIBRARY}/environment.pth", edit, "was changed since flspec wrote it"),
    (f"{LIBRARY}/flspec-{version('flspec')}.dist-info/entry_points.txt", edit, "was changed since flspec wrote it"),
    (f"{LIBRARY}/sitecustomize.py", Path.touch, "was changed since flspec wrote it"),
    (f"{LIBRARY}/json", lambda path: path.symlink_to("/"), "was changed since flspec wrote it"),
    (f"{LIBRARY}/flspec/core/cache.py", Path.unlink, "is missing"),
    ("pyvenv.cfg", edit, "was changed since flspec wrote it"),
    ("bin/python", link_elsewhere, "was changed since flspec wrote it"),
    ("compiled.json", Path.unlink, "is missing"),
]


@pytest.mark.usefixtures("write_toy")
def test_whatever_is_changed_of_a_layer_is_named(environment: Path, tmp_path: Path) -> None:
    layer = python_with_flspec(environment, "toy_backend").parents[1]
    shutil.copytree(layer, tmp_path / "sound", symlinks=True)
    for name, change, why in CHANGES:
        change(layer / name)
        assert str(why_altered(environment, "toy_backend")).startswith(f"{layer / name} {why}")
        shutil.rmtree(layer)
        shutil.copytree(tmp_path / "sound", layer, symlinks=True)
        assert why_altered(environment, "toy_backend") is None


@pytest.mark.usefixtures("write_toy")
def test_a_layer_that_was_changed_is_written_again(environment: Path) -> None:
    python = python_with_flspec(environment, "toy_backend")
    edit(python.parents[1] / LIBRARY / "toy_backend" / "__init__.py")
    discard(environment, "toy_backend")
    assert answer(python_with_flspec(environment, "toy_backend")) == "1"
    assert why_altered(environment, "toy_backend") is None


@pytest.mark.usefixtures("write_toy")
def test_running_a_layer_changes_nothing_of_it(environment: Path) -> None:
    python = python_with_flspec(environment, "toy_backend")
    for source in python.parents[1].rglob("*.py"):
        source.touch()  # nor do times
    assert ask(python, "import flspec.spec.study, toy_backend; print('imported')") == "imported"
    assert why_altered(environment, "toy_backend") is None


def test_a_package_that_is_missing_is_named(environment: Path) -> None:
    with pytest.raises(InputError, match="the package no_such_backend is missing; install flspec again"):
        python_with_flspec(environment, "no_such_backend")
