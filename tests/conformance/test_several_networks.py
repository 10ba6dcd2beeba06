"""What clients keep of several networks, and what is done to each one's gradients: the same bits on every engine.

Workers, an interrupted run and Flower's transport change none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flspec.compiler.compile import compile
from flspec.protocol.backend import kept_state
from flspec.protocol.named_records import flatten
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec

SPEC = """
flspec: 1
name: tiny-gan
rounds: 3
MODE
dataset: {kind: digits}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged, local: [LOCAL]}
client:
  steps: 2
  batch_size: 8
  objective: {kind: gan}
  optimizer: {kind: adam, learning_rate: 2e-3, beta_1: 0.5, state: kept}
  optimizers: {discriminator: {kind: sgd, learning_rate: 0.02, momentum: 0.9DISCRIMINATOR}}
MORE
aggregator: {kind: fedadam, learning_rate: 0.1}
evaluation: {generated: 20, images: {rows: 1, columns: 2}}
"""
CASES = {
    "kept by one": {},
    "kept by both": {"DISCRIMINATOR": ", state: kept"},
    "a discriminator of each client": {"LOCAL": "discriminator", "DISCRIMINATOR": ", state: kept"},
    "a generator of each client": {"LOCAL": "generator"},
    "corrected and clipped": {"MORE": "  algorithm: {kind: fedprox, mu: 0.1}\n  clip: {norm: 0.5}"},
    "all pictures in one place": {"MODE": "mode: centralized"},
    "each client alone": {"MODE": "mode: local_only"},
}


def planned(case: str) -> Plan:
    text = SPEC
    for key in ("MODE", "LOCAL", "DISCRIMINATOR", "MORE"):
        text = text.replace(key, CASES[case].get(key, ""))
    return compile(parse_spec(text))


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> dict[str, tuple[Plan, Path]]:
    found = {}
    for number, case in enumerate(CASES):
        folder = tmp_path_factory.mktemp("references") / str(number)
        run(plan := planned(case), "local", folder, workers=1)
        found[case] = plan, folder
    return found


def last_state(plan: Plan, folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of the server and of each client after the last round."""
    state = load_state(kept_state(folder, plan.num_rounds), plan.digest)
    clients = {
        f"client {number}/{name}": v for number, own in state.clients.items() for name, v in flatten(own).items()
    }
    return {**state.weights, **clients}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("backend", "workers"), [("local", 2), ("flower:inprocess", 1)])
def test_the_last_bit_is_the_same(references, tmp_path, case, backend, workers):
    plan, folder = references[case]
    run(plan, backend, tmp_path / "run", workers=workers)
    assert same(last_state(plan, tmp_path / "run"), last_state(plan, folder))


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_run_goes_on_to_the_same_bits(references, tmp_path, case):
    plan, folder = references[case]

    def stop(record):
        if record.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, "local", tmp_path / "run", workers=1, watch=stop)
    run(plan, "local", tmp_path / "run", workers=1, resume=True)
    assert same(last_state(plan, tmp_path / "run"), last_state(plan, folder))


def test_what_is_kept_is_each_optimizers_own(references):
    kept = {case: sorted(last_state(*references[case])) for case in CASES}
    of_adam = {"optimizer/generator/step", "optimizer/generator/first_moment", "optimizer/generator/second_moment"}

    def optimizers_of(case, client=0):
        names = [name.removeprefix(f"client {client}/") for name in kept[case] if name.startswith(f"client {client}/")]
        return {n.rpartition("/")[0] if not n.endswith("/step") else n for n in names if n.startswith("optimizer/")}

    assert optimizers_of("kept by one") == of_adam
    assert optimizers_of("kept by both") == of_adam | {"optimizer/discriminator/momentum"}
    assert not any(name.startswith("discriminator.") for name in kept["a discriminator of each client"])
    assert any(n.startswith("client 1/weights/discriminator.") for n in kept["a discriminator of each client"])
    assert not [name for name in kept["each client alone"] if not name.startswith("client ")]


def test_what_is_asked_for_changes_the_result(references):
    """Else equal bits would show nothing."""
    plain = last_state(*references["kept by one"])
    for case in ("kept by both", "corrected and clipped"):
        other = last_state(*references[case])
        assert not np.array_equal(plain["discriminator.main.0.weight"], other["discriminator.main.0.weight"])


def test_local_networks_are_not_sent(references):
    plan, _ = references["a discriminator of each client"]
    assert {name.partition(".")[0] for name in plan.settings.weights} == {"generator"}
    assert {name.partition(".")[0] for name in plan.settings.local} == {"discriminator"}
