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
# The algorithm, and what else is otherwise.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
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

# What deliberately wrong loops do otherwise; see `tests.by_hand.algorithms`.
WRONG: dict[str, list[dict[str, Any]]] = {
    "fedprox": [{"sign": 0.0}, {"sign": -1.0}, {"from_the_start": False}],
    "scaffold I": [{"sign": 0.0}, {"sign": -1.0}, {"divides_by_all": False}],
    "scaffold II": [{"sign": 0.0}, {"sign": -1.0}, {"own_sign": 0.0}, {"divides_by_all": False}],
    "feddyn": [{"linear": 0.0}, {"linear": -1.0}, {"server_sign": -1.0}, {"divides_by_all": False}],
    "fednova": [{"normalises": False}],
    "fednova momentum": [{"normalises": False}, {"of_momentum": False}],
    "fednova proximal": [{"normalises": False}, {"of_proximal": False}],
    "fedrep": [{"head_first": False}, {"share": 1 / 3}, {"decays_all": True}],
    "ditto": [{"sign": 0.0}, {"sign": -1.0}, {"from_the_servers": True}],
    "qfedavg": [{"power_of_h": 0.0}, {"power_of_h": -2.0}],
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
