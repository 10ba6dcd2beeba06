"""The page that ARCHITECTURE opens with is what the local backend does, and the rooms it names are those there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flspec.compiler.compile import compile
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_weights
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec
from tests.test_architecture import ROOMS

PAGE = (Path(__file__).parent.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
SPEC = """
flspec: 1
name: one-page
rounds: 5
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 6, alpha: 0.5, min_examples: 5}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 16, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 3}
"""


def fedavg_of(page: str) -> Callable[[Plan], dict[str, Any]]:
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    averaging: Callable[[Plan], dict[str, Any]] = names["federated_averaging"]
    return averaging


def furthest(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)


def test_fedavg_on_one_page_is_what_the_local_backend_does(tmp_path: Path) -> None:
    plan = compile(parse_spec(SPEC))
    run(plan, "local", tmp_path / "run")
    ran = load_weights(tmp_path / "run" / "weights.safetensors")
    assert furthest(fedavg_of(PAGE)(plan), ran) < 1e-6
    assert furthest(fedavg_of(PAGE.replace("task.weight / total", "1 / len(cohort)"))(plan), ran) > 1e-3


def test_the_page_names_every_room() -> None:
    rooms = {name for line in PAGE.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert set(" ".join(ROOMS).split()) <= rooms
