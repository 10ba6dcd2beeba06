"""Noise that clients add, to their updates or in their steps, on every engine that has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flspec.comparison.certification import certify
from flspec.compiler.compile import compile
from flspec.execution.noise_key import NOISE_KEY
from flspec.protocol.backend import Job
from flspec.protocol.plan import Plan
from flspec.protocol.registry import find_backend
from flspec.runs.runner import execute_plan
from flspec.spec.spec import Spec
from tests.conformance.harness import BACKENDS, Engines

KINDS = {
    "local": {"kind": "local", "clip": {"norm": 0.5}},
    "example": {"kind": "example", "clip": {"norm": 0.5}},
}
SPEC = {
    "flspec": 1,
    "name": "private-clients",
    "rounds": 3,
    "dataset": {"kind": "digits"},
    "partition": {"kind": "dirichlet", "clients": 6, "alpha": 0.5, "min_examples": 5},
    "model": {"kind": "cnn", "channels": [4], "kernel_size": 3, "dense": [8]},
    "cohort": {"kind": "poisson", "size": 3},
    "client": {
        "epochs": 1,
        "batch_size": 16,
        "optimizer": {"kind": "adam", "learning_rate": 0.01, "state": "kept"},
    },
    "aggregator": {"kind": "fedavgm", "weighting": "uniform", "momentum": 0.5},
}


def private(kind: str, **settings: Any) -> Plan:
    privacy = KINDS[kind] | {"noise_multiplier": 1.0, "delta": 1e-3} | settings
    return compile(Spec.model_validate_json(json.dumps(SPEC | {"privacy": privacy})))


@pytest.mark.parametrize("kind", list(KINDS))
def test_noise_of_clients_is_the_same_on_every_engine(engines: Engines, tmp_path: Path, kind: str) -> None:
    names = engines.available(("local", *BACKENDS))
    certificate = certify(private(kind), names, tmp_path / "out", engines={name: engines(name) for name in names})
    assert certificate.backends["flower:inprocess"].bitwise
    if "tff" in names:
        verdict = certificate.backends["tff"]
        assert verdict.verdict == {"local": "equivalent", "example": "refused"}[kind], verdict.reason


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_key_reaches_clients_in_processes_of_their_own(engines: Engines, tmp_path: Path, kind: str) -> None:
    """By the same key both end with the same bits, by another with others."""
    plan, found = private(kind, seed="secret"), []
    for number, (name, key) in enumerate([("local", "ab"), ("flower:inprocess", "ab"), ("flower:inprocess", "cd")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / NOISE_KEY).write_text(key * 32)
        result = execute_plan(engines(name), name, plan, Job(folder, workers=2))
        assert result.weights
        found.append(result.weights.sha256)
    assert found[0] == found[1] != found[2]


def test_tff_refuses_noise_in_steps_by_field() -> None:
    assert "privacy.kind: example has each client " in "; ".join(find_backend("tff").refusals(private("example")))
    assert not find_backend("local").refusals(private("example"))
