"""Parts of a model that stay with each client, by name: FedPer and FedBN, held to a loop of plain torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from flspec.compiler.compile import compile
from flspec.data.store import open_data
from flspec.errors import SpecError
from flspec.execution.parts import bytes_per_client
from flspec.protocol.backend import Job, kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import ServerState, load_state
from flspec.runs.runner import run
from flspec.spec.loading import parse_spec
from flspec_local import LocalBackend

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 8), nn.LayerNorm(8), nn.Tanh())
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)))
"""
OWN = '{kind: torch, module: "net_of_placements:Net", local: PARTS}'
SPEC = """
flspec: 1
name: own
rounds: 3
dataset: {kind: digits}
partition: {kind: iid, clients: 4, holdout: 0.2}
model: MODEL
cohort: {kind: uniform, size: 3}
client: {steps: 2, batch_size: 8, optimizer: {kind: sgd, learning_rate: 0.2}}
evaluation: {metrics: [accuracy]}
"""


def planned(model: str, more: str = "") -> Plan:
    return compile(parse_spec(SPEC.replace("MODEL", model) + more))


@pytest.fixture(scope="module")
def fedper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An own module whose head stays with each client: its plan, the folder of its states, and its result."""
    folder = tmp_path_factory.mktemp("fedper")
    (folder / "net_of_placements.py").write_text(NET)
    sys.path.insert(0, str(folder))
    plan = planned(OWN.replace("PARTS", "[head]"))
    list(LocalBackend().execute(plan, Job(folder / "states", keep="all")))
    yield SimpleNamespace(plan=plan, result=run(plan, "local", folder / "run"), folder=folder / "states")
    sys.path.remove(str(folder))


def by_hand(plan: Plan, is_remembered: bool = True) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """Arivazhagan et al., 2019, Algorithms 1 and 2: the server's tensors after the last round, and each client's."""
    train, server = open_data(plan.settings.data).train, dict(plan.weights)
    own: dict[int, dict[str, Any]] = {}
    for number in range(1, plan.num_rounds + 1):
        cohort, sent = plan.cohort(number), []
        for task in cohort:
            module = sys.modules["net_of_placements"].Net()
            before = server | (own.get(task.client, plan.local) if is_remembered else dict(plan.local))
            module.load_state_dict({name: torch.tensor(value, dtype=torch.float32) for name, value in before.items()})
            optimizer = torch.optim.SGD(module.parameters(), lr=0.2)
            for batch in task.batches:
                optimizer.zero_grad()
                outputs = module(torch.from_numpy(train.inputs(batch)))
                torch.nn.functional.cross_entropy(outputs, torch.from_numpy(train.labels[batch])).backward()
                optimizer.step()
            after = {name: value.double().numpy() for name, value in module.state_dict().items()}
            own[task.client] = {name: after[name] for name in plan.local}
            sent.append((task.weight, after))
        total = sum(weight for weight, _ in sent)
        server = {name: sum(weight / total * after[name] for weight, after in sent) for name in server}
    return server, own


def last_state(fedper: SimpleNamespace) -> ServerState:
    return load_state(kept_state(fedper.folder, 3), fedper.plan.digest)


def far(one: Any, other: Any) -> list[str]:
    return [name for name in one if not np.allclose(one[name], other[name], atol=2e-6)]


def test_what_is_local_is_never_sent(fedper):
    plan = fedper.plan
    assert set(plan.local) == {"head.weight", "head.bias"}
    assert set(plan.weights) == {f"body.{layer}.{part}" for layer in (0, 1) for part in ("weight", "bias")}
    assert bytes_per_client(plan) == (4 * (64 * 8 + 8 + 8 + 8),) * 2
    assert set(last_state(fedper).weights) == set(plan.weights)


def test_rounds_are_those_of_fedper(fedper):
    server, own = by_hand(fedper.plan)
    state = last_state(fedper)
    assert far(server, state.weights) == []
    assert set(state.clients) == set(own)
    assert all(far(own[client], state.clients[client]["weights"]) == [] for client in own)


def test_clients_that_forget_their_own_part_are_another_experiment(fedper):
    server, _ = by_hand(fedper.plan, is_remembered=False)
    assert far(server, last_state(fedper).weights)


def test_each_client_is_evaluated_with_its_own_part(fedper):
    state, data = last_state(fedper), open_data(fedper.plan.settings.data)
    inputs = torch.from_numpy(data.test.inputs(np.arange(len(data.test))))
    accuracies = []
    for client in range(4):
        module = sys.modules["net_of_placements"].Net()
        own = state.clients.get(client, {}).get("weights", fedper.plan.local)
        module.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in {**state.weights, **own}.items()})
        accuracies.append(float((module(inputs).argmax(1).numpy() == data.test.labels).mean()))
    told = fedper.result.rounds[-1].evaluation
    assert told["test"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert told["test/clients/worst"]["accuracy"] == pytest.approx(min(accuracies))
    assert len(set(accuracies)) > 1


def test_a_run_that_goes_on_after_a_round_has_what_clients_remember(fedper, tmp_path: Path):
    list(LocalBackend().execute(fedper.plan, Job(tmp_path, start=kept_state(fedper.folder, 1), keep="all")))
    resumed, whole = load_state(kept_state(tmp_path, 3), fedper.plan.digest), last_state(fedper)
    assert {n: v.tobytes() for n, v in resumed.weights.items()} == {n: v.tobytes() for n, v in whole.weights.items()}
    for client, records in whole.clients.items():
        assert all(
            resumed.clients[client]["weights"][n].tobytes() == v.tobytes() for n, v in records["weights"].items()
        )


@pytest.mark.parametrize(
    ("parts", "local"),
    [
        ("[head.bias]", ["head.bias"]),
        ('["body.1"]', ["body.1.weight", "body.1.bias"]),
        ('["*.bias"]', ["body.0.bias", "body.1.bias", "head.bias"]),
        ('["b*.1", head]', ["body.1.weight", "body.1.bias", "head.weight", "head.bias"]),
    ],
)
def test_a_name_is_a_part_a_tensor_or_a_pattern(fedper, parts, local):
    assert sorted(planned(OWN.replace("PARTS", parts)).local) == sorted(local)


def test_layers_of_flspec_stay_with_each_client_by_name_too():
    plan = planned("{kind: mlp, hidden: [8], local: [output]}")
    assert set(plan.local) == {"output.weight", "output.bias"}
    assert {name.partition(".")[0] for name in plan.weights} == {"hidden_1"}


@pytest.mark.parametrize(
    ("parts", "more", "message"),
    [
        (
            "[heed]",
            "",
            r"model.local: heed names nothing that is sent; did you mean 'head'\? tensors are body.0.weight, ",
        ),
        ("[ead]", "", "ead names nothing"),
        ("[body, head]", "", "model.local: leaves nothing to send; use mode: local_only, or leave a part out"),
        (
            "[head]",
            "cohort: {kind: with_replacement, size: 3}",
            "choose cohort: {kind: uniform}, or leave out model.loc",
        ),
    ],
)
def test_names_that_name_nothing_or_everything_are_refused(fedper, parts, more, message):
    text = SPEC.replace("MODEL", OWN.replace("PARTS", parts))
    with pytest.raises(SpecError, match=message):
        compile(parse_spec(text.replace("cohort: {kind: uniform, size: 3}", more) if more else text))
