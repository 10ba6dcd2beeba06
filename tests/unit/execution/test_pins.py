"""An environment holds the files that are pinned by their hash, and no others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flspec.errors import BackendError, InputError
from flspec.execution.environments import (
    environment_folder,
    environment_python,
    find_environment,
    install_environment,
)
from flspec.execution.pins import read_pins
from flspec.execution.sources import package_folder
from flspec.protocol.requirements import Environment
from tests.unit.execution.installing import TOY, contents, pinned, write_backend

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="virtual environments are laid out otherwise"),
    pytest.mark.usefixtures("toy"),
]


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy engine's wheel, in the only place where pip finds packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    path = wheels / "toy_engine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("toy_engine.py", "VERSION = '1.0'\n")
        wheel.writestr("toy_rest.py", "")
        info = "toy_engine-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(wheels), "CONFIG_FILE": os.devnull, "USER": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)  # as a user's own configuration would be
    return path


@pytest.mark.release("pip itself, and all that it compiles; the other tests put a script in its place")
def test_pip_installs_the_pins_and_everything_is_compiled(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_backend(tmp_path / "packages", pinned("1.0", wheel.read_bytes()))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    told: list[str] = []
    folder = install_environment("toy", told.append)
    assert told[2] == "downloading 1 of 1: toy_engine"
    assert set(contents(folder)) >= {"complete", "flspec", "install.log"}
    assert "tmp" not in contents(folder)
    code = "import flspec, toy_engine; print(toy_engine.VERSION)"
    assert subprocess.check_output([environment_python(TOY), "-I", "-c", code], text=True) == "1.0\n"
    assert list(folder.glob("lib/python*/site-packages/__pycache__/toy_rest.*.pyc"))


def test_pip_refuses_a_file_with_another_hash_and_nothing_is_installed(
    wheel: Path, tmp_path: Path, toy: Environment
) -> None:
    write_backend(tmp_path / "packages", pinned("1.0", wheel.read_bytes() + b"\0"))
    with pytest.raises(BackendError, match=r"gave as toy-engine==1\.0 is not the file that is pinned"):
        install_environment("toy")
    assert contents(environment_folder(toy)) == ["install.log"]


def test_other_pins_make_another_environment_but_comments_do_not(tmp_path: Path, toy: Environment) -> None:
    folder = environment_folder(toy)
    write_backend(tmp_path / "packages", f"# why\n\n{pinned('1.0')[:-1]}  # newest\n")
    assert environment_folder(toy) == folder
    for pins in (pinned("1.1"), pinned("1.0", b"other")):
        write_backend(tmp_path / "packages", pins)
        assert environment_folder(toy) != folder


def test_missing_pins_are_an_error(tmp_path: Path, toy: Environment) -> None:
    (tmp_path / "packages" / "toy_backend" / "requirements.txt").unlink()
    with pytest.raises(InputError, match="the pins of toy are missing"):
        install_environment("toy")


@pytest.mark.parametrize("pin", ["toy-engine==1.0", "toy-engine>=1 --hash=sha256:" + "0" * 64, "-e ."])
def test_a_pin_that_any_file_could_satisfy_is_refused(pin: str, tmp_path: Path) -> None:
    write_backend(tmp_path / "packages", f"{pin}\n")
    with pytest.raises(InputError, match=f"{pin.partition(' ')[0]} is not pinned as name==version --hash=sha256:"):
        install_environment("toy")


def test_the_pins_of_tff_are_exact_and_hold_what_flspec_needs() -> None:
    pins = read_pins(find_environment("tff"))
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( --hash=sha256:[0-9a-f]{64})+", pin) for pin in pins)
    source = (package_folder("flspec_tff") / "requirements.in").read_text().splitlines()  # the list that people edit
    assert {pin.partition(" ")[0] for pin in pins} == {line for line in source if not line.startswith("#")}
    names = {pin.partition("==")[0] for pin in pins}
    assert len(names) == len(pins)
    assert names >= {"tensorflow-federated", "tensorflow-cpu", "numpy", "pydantic", "pyyaml", "safetensors"}
