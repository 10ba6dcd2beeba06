"""A backend from somebody else's package of one file works, with no change to flspec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = '''
"""Softmax regression by hand, in numpy: a backend of one file."""
import numpy as np
from flspec.protocol.backend import Backend
from flspec.execution.rounds import drive_rounds, round_result
from flspec.data.store import open_data
from flspec.execution.server_step import finish_round
from flspec.protocol.updates import ClientUpdate


class NumpyBackend(Backend):
    name = "by_hand"
    isolated = {isolated}

    def unsupported(self, plan):
        kinds = [layer["kind"] for layer in plan.settings.layers]
        return [] if kinds == ["flatten", "dense"] else [f"model: by_hand only knows softmax regression, not {{kinds}}"]

    def execute(self, plan, job):
        train = open_data(plan.settings.data).train
        rate = plan.settings.client_optimizer["learning_rate"]

        def client(task, start):
            w, b = start["output.weight"].astype(float), start["output.bias"].astype(float)
            loss, correct = 0.0, 0
            for batch in task.batches:
                x, y = train.inputs(batch).reshape(len(batch), -1), train.labels[batch]
                z = x @ w.T + b
                p = np.exp(z - z.max(1, keepdims=True))
                p /= p.sum(1, keepdims=True)
                loss -= np.log(p[np.arange(len(y)), y]).sum()
                correct += int((z.argmax(1) == y).sum())
                p[np.arange(len(y)), y] -= 1
                w, b = w - rate * p.T @ x / len(y), b - rate * p.mean(0)
            after = {{"output.weight": w.astype(np.float32), "output.bias": b.astype(np.float32)}}
            delta = {{name: after[name] - start[name] for name in start}}
            sums = {{"loss": loss, "accuracy": correct}}
            return ClientUpdate(task.client, delta, task.weight, task.num_trained, sums)

        def run_round(number, state):
            updates = [client(task, state.weights) for task in plan.cohort(number)]
            return round_result(finish_round(plan, state, updates), updates, {{"train": 0.0, "aggregate": 0.0}})

        yield from drive_rounds(plan, job, {{"numpy": np.__version__}}, run_round)
'''
SPEC = """
flspec: 1
name: third-party
rounds: 5
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 6, alpha: 0.5}
model: {kind: MODEL}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""


def flspec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flspec", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
    )


@pytest.fixture(params=[False, True], ids=["in flspec's process", "in its own"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the package, as pip would install it."""
    metadata = tmp_path / "by_hand-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "by_hand.py").write_text(MODULE.format(isolated=request.param))
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: by-hand\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[flspec.backends]\nby_hand = by_hand:NumpyBackend\n")
    return tmp_path


def test_a_backend_of_one_file_is_certified(site: Path) -> None:
    (site / "spec.yaml").write_text(SPEC.replace("MODEL", "softmax_regression"))
    done = flspec(site, "certify", "spec.yaml", "--backends", "local,by_hand", "--out", "c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backends"]["by_hand"]["verdict"] == "equivalent"


def test_what_it_cannot_do_it_refuses(site: Path) -> None:
    (site / "spec.yaml").write_text(SPEC.replace("MODEL", "mlp"))
    done = flspec(site, "run", "spec.yaml", "--backend", "by_hand", "--out", "r")
    assert done.returncode == 2
    assert done.stderr.startswith("flspec: by_hand cannot run this plan: model: by_hand only knows softmax regression")
    assert not (site / "r").exists()


def test_what_came_after_it_is_refused_for_it_instead_of_passed_over(site: Path) -> None:
    """It says of no feature that it reads it; a clipped gradient would otherwise go unclipped without a word."""
    text = SPEC.replace("MODEL", "softmax_regression").replace("{epochs: 1,", "{epochs: 1, clip: {norm: 0.1},")
    (site / "spec.yaml").write_text(text)
    done = flspec(site, "run", "spec.yaml", "--backend", "by_hand", "--out", "r")
    assert done.returncode == 2
    told = "client.clip: by_hand does not read this; remove it, or choose another backend"
    assert done.stderr == f"flspec: by_hand cannot run this plan: {told}\n"
    assert not (site / "r").exists()
