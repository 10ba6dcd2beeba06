"""A torch module with batch norm, dropout, tied, frozen and drawn parts is the same on local and Flower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.scratch_packages import digest_of, flspec

NET = """
import torch
from torch import nn
from my_blocks import Block

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("shift", torch.rand(1))
        self.block = Block(width)
        self.drop = nn.Dropout(0.3)
        self.down = nn.Linear(width * 64, 32)
        self.down.bias.requires_grad_(False)
        self.out = nn.Linear(32, 10)
        self.again = nn.Linear(10, 10)
        self.last = nn.Linear(10, 10)
        self.last.weight = self.again.weight

    def forward(self, x):
        hidden = self.down(self.drop(self.block(x + self.shift)).flatten(1)).relu()
        return self.last(self.again(self.out(hidden)).relu())
"""
BLOCKS = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
"""
SPEC = """
flspec: 1
name: own
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 12}
model: {kind: torch, module: "my_net:Net", arguments: {width: 4}, batch_norm: averaged}
cohort: {kind: uniform, size: 3}
client: {epochs: 1, batch_size: 32, optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9}}
evaluation: {every: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name, text in {"my_net.py": NET, "my_blocks.py": BLOCKS, "spec.yaml": SPEC}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Any:
    done = flspec(folder, "certify", "spec.yaml", "--backends", "local,flower:inprocess,tff", "--out", "c", "--json")
    assert done.returncode == 1, done.stderr  # TFF refuses
    return json.loads((folder / "c" / "certificate.json").read_text())["backends"]


def test_flower_does_the_same_to_the_last_bit(certificate: Any) -> None:
    assert certificate["flower:inprocess"]["verdict"] == "equivalent"
    assert certificate["flower:inprocess"]["bitwise"]


def test_tff_refuses_the_module_by_name(certificate: Any) -> None:
    assert certificate["tff"]["verdict"] == "refused"
    assert "model.module: my_net:Net is a torch module, which TFF cannot run" in certificate["tff"]["reason"]


def weights_of(folder: Path, out: str, *arguments: str) -> bytes:
    done = flspec(folder, "run", "spec.yaml", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    return (folder / out / "weights.safetensors").read_bytes()


def test_the_number_of_workers_changes_no_bit(folder: Path) -> None:
    assert weights_of(folder, "one", "--workers", "1") == weights_of(folder, "two", "--workers", "2")


def test_a_file_that_it_imports_counts_in_the_digest(folder: Path) -> None:
    before = digest_of(folder)
    (folder / "my_blocks.py").write_text(BLOCKS + "# other\n")
    assert digest_of(folder) != before
    (folder / "my_blocks.py").write_text(BLOCKS)
    assert digest_of(folder) == before


TABLE_NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2))
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        return self.out(self.body(x))
"""
TABLE_SPEC = """
flspec: 1
name: own
rounds: 2
parts: [net.py, my_loss.py, my_metric.py]
dataset: {kind: csv, file: table.csv, holdout: 0.2}
partition: {kind: iid, clients: 4}
model: {kind: torch, module: "net:Net", arguments: {features: 2}, batch_norm: averaged}
client: {epochs: 2, batch_size: 16, loss: {kind: my_loss}, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {metrics: [accuracy, my_metric]}
"""


def test_module_loss_metric_and_table_beside_the_spec_are_the_same_on_flower(tmp_path: Path) -> None:
    for kind in ("loss", "metric"):
        assert flspec(tmp_path, "new", "--part", kind, f"my_{kind}.py").returncode == 0
    rows = [f"{a}.5,{b}.5,{'yes' if a + b > 0 else 'no'}" for a in range(-8, 8) for b in range(-8, 8)]
    texts = {"table.csv": "\n".join(["a,b,label", *rows]) + "\n", "net.py": TABLE_NET, "spec.yaml": TABLE_SPEC}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    done = flspec(tmp_path, "certify", "spec.yaml", "--backends", "local,flower:inprocess", "--out", "c", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "c" / "certificate.json").read_text())["backends"]["flower:inprocess"]["bitwise"]
