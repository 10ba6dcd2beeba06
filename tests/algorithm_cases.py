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
    "fedprox": ({"kind": "fedprox", "mu": 0.7}, {"sections": BY_EXAMPLES}),
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
    "fedrep": (
        {"kind": "fedrep", "head_epochs": 2},
        {
            "sections": {"model": {"kind": "mlp", "hidden": [5], "activation": "tanh", "local": ["output"]}},
            "client": {"epochs": 3, "optimizer": SGD | {"momentum": 0.5, "weight_decay": 0.2}},
        },
    ),
    "ditto": ({"kind": "ditto", "strength": 0.7}, {"client": {"optimizer": SGD | {"momentum": 0.5}}}),
}


def client(algorithm: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 4, "optimizer": SGD, "algorithm": algorithm} | more


def plan_sections(case: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sections of a case, and what its client does otherwise."""
    _, more = CASES[case]
    return SECTIONS | more.get("sections", {}), more.get("client", {})


def plan_of(make_plan: MakePlan, case: str) -> Plan:
    sections, more = plan_sections(case)
    return make_plan(**sections | {"client": client(CASES[case][0], **more)})
