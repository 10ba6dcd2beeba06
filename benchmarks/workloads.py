"""The plans that are timed: on every backend beside the floor, and in other simulators. To add one, add an entry.

The pictures are made up, in the published format: how long a step takes does not depend on what they show, and so every
machine can measure the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flspec.compiler.compile import compile
from flspec.protocol.plan import Plan
from flspec.spec.loading import load_spec

__all__ = ["SHARED", "WORKLOADS", "Workload"]

_SGD = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}}
_SLOWLY = {"optimizer": {"kind": "sgd", "learning_rate": 0.01}}


@dataclass(frozen=True)
class Workload:
    """Rounds of FedAvg in which every client makes one pass over examples of its own."""

    title: str
    model: Mapping[str, Any]
    clients: int  # all of them train in every round
    examples: int  # of each
    batch: int
    rounds: int  # that the floor takes about a minute for: enough that a backend may start workers
    dataset: Mapping[str, Any] = field(default_factory=lambda: {"kind": "mnist"})
    client: Mapping[str, Any] = field(default_factory=lambda: _SGD)

    def plan(self, rounds: int, small: bool = False) -> Plan:
        """Return the plan of so many rounds; a small one has two clients of one step."""
        clients, batch = (2, min(self.batch, 4)) if small else (self.clients, self.batch)
        examples = batch if small else self.examples
        # A twin is split as the published data are, a seventh at most for evaluation.
        twin = {"clients": max(3, clients), "examples": 4 * clients * examples // 3 + 60}
        document = {
            "flspec": 1,
            "name": "benchmark",
            "rounds": rounds,
            "dataset": {**self.dataset, "twin": twin},
            "partition": {"kind": "iid", "clients": clients, "examples_per_client": examples},
            "model": self.model,
            "client": {"epochs": 1, "batch_size": batch, **self.client},
            "evaluation": {"every": rounds},
        }
        return compile(load_spec(document))

    @property
    def cohort(self) -> str:
        return f"{self.clients} × {self.examples}, batch {self.batch}"


_CIFAR10 = {"kind": "cifar10"}
_FACES = {"kind": "celeba", "split": "challenge", "size": 32, "fit": "crop", "normalise": "half"}
_GAN = {"objective": {"kind": "gan"}, "optimizer": {"kind": "adam", "learning_rate": 2e-4, "beta_1": 0.5}}

WORKLOADS: dict[str, Workload] = {
    "softmax": Workload("softmax regression", {"kind": "softmax_regression"}, 100, 60, 10, 500),
    "mlp": Workload("MLP 784-200-200-10", {"kind": "mlp", "hidden": [200, 200]}, 10, 600, 10, 200),
    "mlp512": Workload("MLP 784-512-10", {"kind": "mlp", "hidden": [512]}, 10, 1000, 100, 250),
    "cnn": Workload(
        "CNN of McMahan et al.",
        {"kind": "cnn", "channels": [32, 64], "kernel_size": 5, "dense": [512]},
        10,
        600,
        20,
        12,
    ),
    "cifar": Workload("CIFAR-10 simple CNN", {"kind": "cifar_cnn"}, 50, 50, 10, 16, _CIFAR10),
    "resnet18": Workload("ResNet-18, group norm, 32 × 32", {"kind": "resnet18"}, 4, 40, 10, 60, _CIFAR10, _SLOWLY),
    "dcgan": Workload(
        "DCGAN of width 16, 32 × 32",
        {"kind": "dcgan", "latent": 64, "width": 16, "batch_norm": "averaged"},
        4,
        96,
        32,
        200,
        _FACES,
        _GAN,
    ),
}
SHARED = ("softmax", "mlp", "mlp512", "cnn", "cifar")  # which every backend and every other simulator can do
