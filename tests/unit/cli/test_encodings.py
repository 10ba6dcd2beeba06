"""What is printed arrives, whatever the terminal or the log can encode."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.spec.spec import Spec
from tests.unit.cli.test_cli import write_spec


def flspec_in(encoding: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with streams of this encoding, whatever the system's is."""
    return subprocess.run(
        [sys.executable, "-m", "flspec", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding=encoding,
        timeout=120,
        check=False,
    )


COMMANDS = [
    ("plan", "spec.yaml", "--plot"),
    ("diff", "spec.yaml", "other.yaml"),
    ("list", "partition", "shards"),
    ("run", "spec.yaml"),
    ("run", "--help"),
    ("validate", "späť.yaml"),
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_prints_in_any_encoding(
    make_spec: Callable[..., Spec], tmp_path: Path, encoding: str, command: tuple[str, ...]
) -> None:
    write_spec(tmp_path, make_spec(rounds=1))
    (tmp_path / "other.yaml").write_text((tmp_path / "spec.yaml").read_text().replace("rounds: 1", "rounds: 2"))
    done = flspec_in(encoding, tmp_path, *command)
    assert done.returncode == (2 if command[0] == "validate" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout or command[0] == "validate"
    if encoding == "ascii":
        assert (done.stdout + done.stderr).isascii()


def test_signs_become_what_they_resemble_and_letters_stay_apart(make_spec: Callable[..., Spec], tmp_path: Path) -> None:
    write_spec(tmp_path, make_spec(rounds=1))
    done = flspec_in("ascii", tmp_path, "plan", "spec.yaml", "--set", "seed=3")
    assert "<- --set" in done.stdout
    assert "-----" in done.stdout
    done = flspec_in("ascii", tmp_path, "validate", "späť.yaml")
    assert done.stderr.startswith(r"sp\xe4\u0165.yaml: ")
