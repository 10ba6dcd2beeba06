"""What pip has installed is told from what somebody has changed since."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.execution.installed_files import why_damaged

CODE = b"RATE = 0.1\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A `site-packages` with one package and a program beside it, as pip leaves them."""
    library = tmp_path / "lib" / "site-packages"
    content = {"engine/__init__.py": CODE, "engine/core.so": b"\x7fELF", "engine.pth": b"", "../../bin/engine": b"#!"}
    rows = []
    for name, data in content.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).resolve().parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    info = library / "engine-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("".join([*rows, "engine-1.0.dist-info/RECORD,,\n", '"engine/a,b.pyc",,\n']))
    return library


def test_what_is_as_it_was_installed_passes_bytecode_and_data_included(library: Path) -> None:
    (library / "engine" / "__pycache__").mkdir()
    (library / "engine" / "__pycache__" / "__init__.cpython-311.pyc").touch()
    (library / "engine" / "notes.txt").touch()
    assert why_damaged(library) is None


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("engine/__init__.py", lambda path: path.write_bytes(CODE.replace(b"1", b"2")), "was changed since it was"),
        ("engine/core.so", lambda path: path.write_bytes(b"\x7fELG"), "was changed since it was installed"),
        ("../../bin/engine", lambda path: path.write_bytes(b"#?"), "was changed since it was installed"),
        ("engine.pth", Path.unlink, "is missing"),
        ("sitecustomize.py", Path.touch, "belongs to no package"),
        ("other.pth", Path.touch, "belongs to no package"),
    ],
)
def test_what_is_not_is_named(library: Path, name: str, change: Callable[[Path], None], why: str) -> None:
    change(library / name)
    assert str(why_damaged(library)).startswith(f"{library / name} {why}")
