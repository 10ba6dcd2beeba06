"""Where a model's tensors live, in a run: with the server, with each client, or in the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flspec.compiler.compile import compile
from flspec.errors import InputError
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state, load_weights
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend
from flspec_torch.training import Trainer

SPEC = """
flspec: 1
name: placements
rounds: 2
dataset: {kind: digits}
partition: {kind: dirichlet, clients: 4, alpha: 0.5, min_examples: 20}
model: MODEL
client: {steps: 2, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.05}}
cohort: {kind: uniform, size: 3}
aggregator: {kind: fedadam, learning_rate: 0.01}
"""
HEAD = "{kind: mobilenet_v2, train: head}"
BATCH_NORM = "{kind: mobilenet_v2, train: all, batch_norm: POLICY}"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As a client trains in a run: more threads sum in another order, which sixty layers make visible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def planned(model: str, **sections: str) -> Plan:
    text = SPEC.replace("MODEL", model)
    for key, value in sections.items():
        text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines())
    return compile(parse_spec(text))


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    """Each policy of batch norm, and a model of which only the head is trained, on pictures enlarged to 32 by 32."""
    policies = {policy: BATCH_NORM.replace("POLICY", policy) for policy in ("frozen", "averaged", "local")}
    large = "{kind: digits, train_transforms: [{kind: resize, size: 32}], test_transforms: [{kind: resize, size: 32}]}"
    return {name: planned(model, dataset=large) for name, model in (policies | {"head": HEAD}).items()}


@pytest.fixture(scope="module")
def runs(plans: dict[str, Plan], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ServerState]]:
    """The states after both rounds."""
    folder = tmp_path_factory.mktemp("placements")
    return {name: states(plan, folder / name) for name, plan in plans.items()}


def states(plan: Plan, folder: Path) -> list[ServerState]:
    list(LocalBackend().execute(plan, Job(folder, keep="all")))
    return [load_state(kept_state(folder, number), plan.digest) for number in (1, 2)]


def is_statistic(name: str) -> bool:
    return name.rpartition(".")[2].startswith("running_")


def test_of_a_frozen_network_only_the_head_is_sent_and_the_rest_is_in_the_plan(plans, runs):
    plan = plans["head"]
    assert list(plan.weights) == ["classifier.1.weight", "classifier.1.bias"]
    assert sum(value.size for value in plan.weights.values()) == 10 * 1281
    assert len(plan.constants) == 260  # 52 convolutions, and of each batch norm weight, bias, mean and variance
    assert set(runs["head"][-1].weights) == set(plan.weights)
    assert runs["head"][-1].clients == {}


def test_training_leaves_constants_as_they_are_to_the_last_bit(plans):
    for name in ("head", "frozen"):
        plan = plans[name]
        trainer = Trainer(plan)
        before = {key: value.numpy().tobytes() for key, value in trainer.constants.items()}
        update = trainer.train(plan.cohort(1)[0], plan.weights)
        assert any(delta.any() for delta in update.delta.values())
        assert {key: value.numpy().tobytes() for key, value in trainer.constants.items()} == before
        assert before == {key: value.tobytes() for key, value in plan.constants.items()}


def test_with_frozen_statistics_weight_and_bias_are_still_trained(plans, runs):
    plan = plans["frozen"]
    assert set(plan.constants) == {f"{name}" for name in plan.constants if is_statistic(name)}
    assert len(plan.constants) == 2 * 52
    moved = {
        name for name, value in runs["frozen"][-1].weights.items() if not np.array_equal(value, plan.weights[name])
    }
    assert {"features.0.1.weight", "features.1.conv.0.1.bias"} <= moved


def test_averaged_statistics_are_the_mean_of_the_clients_whatever_the_server_optimizer(plans, runs):
    plan = plans["averaged"]
    assert plan.statistics == {name for name in plan.weights if is_statistic(name)}
    updates = [Trainer(plan).train(task, plan.weights) for task in plan.cohort(1)]
    shares = np.array([update.weight for update in updates]) / sum(update.weight for update in updates)
    after = runs["averaged"][0]
    for name in ("features.0.1.running_mean", "features.17.conv.0.1.running_var"):
        mean = sum(share * u.delta[name].astype(float) for share, u in zip(shares, updates, strict=True))
        assert np.allclose(after.weights[name], plan.weights[name] + mean, atol=1e-6, rtol=1e-6)
        assert abs(mean).max() > 1e-4
        assert name not in after.optimizer.slots["first_moment"]


def test_running_statistics_are_those_of_the_batches_as_batch_norm_defines_them(plans):
    """The first layer's, by hand: what goes into it does not depend on any statistic."""
    plan = plans["averaged"]
    task = plan.cohort(1)[0]
    trainer = Trainer(plan)
    weight = torch.from_numpy(plan.weights["features.0.0.weight"]).double()
    images = torch.from_numpy(trainer.data.train.inputs(task.batches[0])).double()
    out = torch.nn.functional.conv2d(images, weight, stride=2, padding=1).numpy()
    delta = trainer.train(replace(task, batches=task.batches[:1]), plan.weights).delta
    mean, var, biased = out.mean((0, 2, 3)), out.var((0, 2, 3), ddof=1), out.var((0, 2, 3))
    assert np.allclose(delta["features.0.1.running_mean"], 0.1 * mean, atol=1e-6, rtol=1e-5)
    assert np.allclose(1 + delta["features.0.1.running_var"], 0.9 + 0.1 * var, atol=1e-6, rtol=1e-5)
    assert not np.allclose(0.9 + 0.1 * biased, 0.9 + 0.1 * var, atol=1e-6, rtol=1e-5)


def test_local_batch_norm_stays_with_its_client_and_is_never_sent(plans, runs):
    plan = plans["local"]
    assert not any(name in plan.weights for name in plan.local)
    assert len(plan.local) == 4 * 52
    first, second = runs["local"]
    trained = {task.client for number in (1, 2) for task in plan.cohort(number)}
    assert set(second.clients) == trained
    name = "features.0.1.running_mean"
    values = {second.clients[client]["weights"][name].tobytes() for client in trained}
    assert len(values) == len(trained)
    idle = {task.client for task in plan.cohort(1)} - {task.client for task in plan.cohort(2)}
    assert all(
        first.clients[c]["weights"][name].tobytes() == second.clients[c]["weights"][name].tobytes() for c in idle
    )


def test_a_batch_of_one_whose_channels_have_one_value_has_no_variance(make_spec):
    model = {"kind": "mobilenet_v2", "train": "all", "batch_norm": "averaged"}
    client = {"steps": 1, "batch_size": 1, "optimizer": {"kind": "sgd", "learning_rate": 0.1}}
    spec = make_spec(dataset={"kind": "digits"}, model=model, client=client)
    with pytest.raises(InputError, match=r"client.batch_size: some batches hold one example, .* at features\.4"):
        compile(spec)


def test_a_run_leaves_whole_models_by_name_and_what_clients_kept(plans, tmp_path):
    head, local = (run(plans[name], "local", tmp_path / name).weights for name in ("head", "local"))
    assert head
    assert local
    saved = load_weights(tmp_path / "head" / head.path)
    assert set(saved) == set(plans["head"].constants) | set(plans["head"].weights)
    assert all(saved[name].tobytes() == value.tobytes() for name, value in plans["head"].constants.items())
    assert not (tmp_path / "head" / "clients.safetensors").exists()
    kept = load_weights(tmp_path / "local" / "clients.safetensors")
    assert set(kept) == {f"{c}/weights/{name}" for c in plans["local"].participants for name in plans["local"].local}
    assert set(load_weights(tmp_path / "local" / local.path)) == set(plans["local"].weights)
