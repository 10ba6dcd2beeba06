"""Without a home, a standard stream, file descriptors or UTF-8, a spec still runs, to the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flspec.protocol.plan import Plan
from flspec.runs.result import load_result
from flspec.runs.runner import run
from flspec.spec.yaml_writer import write_yaml

# What a shell does before it becomes flspec, and the environment that it does it in.
ENVIRONMENTS: dict[str, tuple[str, dict[str, str | None]]] = {
    "no home": ("", {"HOME": None, "XDG_CACHE_HOME": None}),
    "a home that is not there": ("", {"HOME": "/nowhere"}),
    "an ASCII locale": ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "an odd time zone": ("", {"TZ": "Antarctica/Troll"}),
    "no terminal type": ("", {"TERM": None}),
    "stdin closed": ("exec <&-;", {}),
    "stdout closed": ("exec >&-;", {}),
    "stderr closed": ("exec 2>&-;", {}),
    "64 open files": ("ulimit -n 64;", {}),
    "asserts left out": ("", {"PYTHONOPTIMIZE": "1"}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_spec_runs_in_an_odd_environment(name: str, make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    plan = make_plan()
    (tmp_path / "spec.yaml").write_text(write_yaml(dict(plan.spec)))
    before, changed = ENVIRONMENTS[name]
    environment = {key: value for key, value in (os.environ | changed).items() if value is not None}
    done = subprocess.run(
        ["sh", "-c", f'{before} exec "$0" -m flspec run spec.yaml --out odd', sys.executable],
        cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    ours = run(plan, out=tmp_path / "ours")
    assert load_result(tmp_path / "odd").weights == ours.weights


@pytest.mark.parametrize("closed", ["exec <&-;", "exec >&-;", "exec 2>&-;", "exec >&- 2>&-;"])
def test_a_wrong_spec_is_refused_whatever_is_closed(closed: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("rounds: ten\n")
    command = f'{closed} exec "$0" -m flspec validate spec.yaml'
    done = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
