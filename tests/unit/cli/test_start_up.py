"""What a command imports: little more than what it was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """
flspec: 1
name: start
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 4}
cohort: {kind: uniform, size: 1}
model: {kind: mlp, hidden: [4]}
client: {steps: 1, batch_size: 4, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {metrics: [loss]}
"""
NEVER = {"sklearn", "scipy.stats", "pandas", "pyarrow", "tensorflow", "flwr", "ray", "dp_accounting", "matplotlib"}
NEVER |= {"flspec.aggregators.krum", "flspec.datasets.csv"}  # kinds that the spec does not name
NOT_TO_VALIDATE = NEVER | {
    "torch",
    "scipy",
    "rich",
    "PIL",
    "jinja2",
    "psutil",
    "flspec_local",
    "flspec.layers",
    "flspec.protocol.plan",
    "flspec.spec.diagnosis",
}


@pytest.mark.parametrize(("command", "unwanted"), [("validate", NOT_TO_VALIDATE), ("run", NEVER)])
def test_a_command_imports_little_more_than_it_was_asked_for(tmp_path, command, unwanted):
    imported = imports_of(tmp_path, command, SPEC)
    assert imported & unwanted == set()
    assert {"flspec.datasets.digits", "flspec.models.mlp"} <= imported  # so what is imported is seen


def test_an_import_that_a_spec_needs_is_seen(tmp_path):
    mistaken = SPEC.replace("kind: uniform, size: 1", "kind: uniform, sizes: 1")
    assert {"flspec.spec.diagnosis", "flspec.aggregators.krum", "flspec.layers"} <= imports_of(
        tmp_path, "validate", mistaken
    ) & NOT_TO_VALIDATE


def imports_of(folder: Path, command: str, spec: str) -> set[str]:
    """Return every module that a command imports in a process of its own."""
    (folder / "spec.yaml").write_text(spec)
    code = (
        "import atexit, pathlib, sys; from flspec.cli import main;"
        "atexit.register(lambda: pathlib.Path('modules').write_text(' '.join(sys.modules))); main()"
    )
    subprocess.run([sys.executable, "-c", code, command, "spec.yaml"], cwd=folder, capture_output=True, check=False)
    return set((folder / "modules").read_text().split())
