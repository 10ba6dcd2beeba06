"""A small experiment with a part file, which imports another file."""

from __future__ import annotations

from pathlib import Path

PART = """
from typing import Literal
import factors
from flspec.aggregators.fedavg import FedAvg
from flspec.metrics import Scores, metric

class Scaled(FedAvg):
    "The mean, times a factor."
    kind: Literal["scaled"] = "scaled"
    def combine(self, updates):
        return {name: value * factors.FACTOR for name, value in super().combine(updates).items()}

@metric(better="lower", description="share of wrong predictions")
def misses(scores: Scores) -> float:
    return float((scores.predicted != scores.labels).mean())
"""
SPEC = """
flspec: 1
name: example
rounds: 2
parts: [my_parts.py]
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
aggregator: {kind: scaled}
client: {epochs: 1, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.1}}
evaluation: {metrics: [accuracy, misses], best: {metric: misses}}
"""


def write(folder: Path, part: str = PART, factor: str = "FACTOR = 0.5\n", spec: str = SPEC) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "my_parts.py").write_text(part)
    (folder / "factors.py").write_text(factor)
    (folder / "spec.yaml").write_text(spec)
    return folder / "spec.yaml"
