"""A small plan for each client algorithm that comes with flspec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flspec.protocol.plan import Plan

MakePlan = Callable[..., Plan]
SGD = {"kind": "sgd", "learning_rate": 0.2}
UNIFORM = {"kind": "fedavg", "weighting": "uniform"}
BY_EXAMPLES = {"aggregator": {"kind": "fedavg"}}
# Uneven clients, so that steps differ between them, and cohorts of half of them.
SECTIONS: dict[str, Any] = {
    "rounds": 5,
    "partition": {"kind": "dirichlet", "clients": 6, "alpha": 0.5, "min_examples": 4},
    "model": {"kind": "mlp", "hidden": [5], "activation": "tanh"},
    "aggregator": UNIFORM,
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # the algorithm, and what else is otherwise
    "scaffold I": ({"kind": "scaffold", "option": "I"}, {}),
    "scaffold II": ({"kind": "scaffold"}, {}),
    "feddyn": ({"kind": "feddyn", "alpha": 0.3}, {}),
    "fednova": ({"kind": "fednova"}, {"sections": BY_EXAMPLES}),
    "fednova momentum": (
        {"kind": "fednova"},
        {"sections": BY_EXAMPLES, "client": {"optimizer": SGD | {"learning_rate": 0.05, "momentum": 0.8}}},
    ),
    "fednova proximal": ({"kind": "fednova", "mu": 0.8}, {"sections": BY_EXAMPLES}),
    "qfedavg": ({"kind": "qfedavg", "q": 1.5}, {}),
}


def client(algorithm: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 4, "optimizer": SGD, "algorithm": algorithm} | more


def plan_of(make_plan: MakePlan, case: str) -> Plan:
    algorithm, more = CASES[case]
    return make_plan(**SECTIONS | {"client": client(algorithm, **more.get("client", {}))} | more.get("sections", {}))
