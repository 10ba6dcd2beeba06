"""Generators that all of a process shares, beside somebody's own torch module: its draws, its evaluation, compiling."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flspec.compiler.compile import compile
from flspec.errors import RunError
from flspec.layers import TorchModule
from flspec.protocol.plan import Plan
from flspec.spec.loading import parse_spec
from flspec_torch.own_module import build_module, seeded

NET = """
from torch import nn

def meanwhile():
    pass

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.out = nn.Dropout(0.3), nn.Linear(64, 10)

    def forward(self, x):
        meanwhile()
        return self.out(self.drop(x).flatten(1))
"""
SPEC = """
flspec: 1
name: own
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 30}
model: {kind: torch, module: "module_in_threads:Net"}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
"""
Evaluate = Callable[[Callable[[], object]], None]


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Plan]:
    """Compile the spec, whose module draws its weights and is run on made-up numbers."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_in_threads.py").write_text(NET)
    monkeypatch.delitem(sys.modules, "module_in_threads", raising=False)
    return lambda: compile(parse_spec(SPEC))


@pytest.fixture
def evaluate(compiled: Callable[[], Plan], monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Evaluate a module whose `forward` calls what is given."""
    plan = compiled()
    layer = TorchModule.model_validate_json(json.dumps(plan.settings.layers[0]))
    tensors = {name: torch.from_numpy(value.copy()) for name, value in plan.weights.items()}

    def evaluated(meanwhile: Callable[[], object]) -> None:
        monkeypatch.setattr(sys.modules["module_in_threads"], "meanwhile", meanwhile)
        build_module(layer)(tensors, [torch.zeros(2, 1, 8, 8)], None)

    return evaluated


def test_compiling_leaves_the_generators_as_they_were(compiled: Callable[[], Plan]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    compiled()
    assert torch.equal(torch.rand(3), expected)


def test_a_thread_that_draws_waits_for_an_evaluation_and_is_not_taken_for_it(evaluate: Evaluate) -> None:
    begun, evaluated = threading.Event(), threading.Event()

    def draw() -> None:
        with seeded(1):
            begun.set()
            evaluated.wait(10)

    thread = threading.Thread(target=draw)

    def start() -> None:
        thread.start()
        assert not begun.wait(0.5)

    try:
        evaluate(start)
    finally:
        evaluated.set()
        thread.join()
    assert begun.is_set()


def test_draws_in_an_evaluation_are_told(evaluate: Evaluate) -> None:
    with pytest.raises(RunError, match="forward drew random numbers in evaluation"):
        evaluate(lambda: torch.rand(1))
