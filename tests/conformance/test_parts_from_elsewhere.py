"""A client algorithm, a postprocessor and an objective of one file, from a package that changes nothing of flspec.

SCAFFOLD written anew, because it needs a correction, what clients and the server remember, and what is sent. It is
held to a loop in float64 that shares no code with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flspec.data.store import open_data
from flspec.protocol.backend import kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state, load_weights
from tests.oracle import loss_and_gradient

SCAFFOLD = '''
"""SCAFFOLD, option II: Karimireddy et al., ICML 2020, Algorithm 1."""

from typing import Any, Literal

from flspec.client_algorithms import ClientAlgorithm, ClientOutcome


class Variates(ClientAlgorithm):
    """A client's gradients are corrected by how its control variate differs from the server's."""

    kind: Literal["variates"] = "variates"
    server_slots, client_slots, sends = {"control": 0.0}, {"control": 0.0}, ("control_change",)

    def correct(self, gradient, weight, start, server, own):
        return gradient + (server["control"] - own["control"])

    def finish(self, work):
        own, server = work.own["control"], work.server["control"]
        pace = 1 / (work.num_steps * work.learning_rate)
        after = {n: own[n] - server[n] + pace * (work.start[n] - work.after[n]) for n in own}
        change = {n: after[n] - own[n] for n in own}
        return ClientOutcome(super().finish(work).delta, {"control": after}, {"control_change": change})

    def combine(self, work):
        changes = [records["control_change"] for records in work.sent]
        return work.mean, {"control": {n: c + sum(one[n] for one in changes) / work.num_clients
                                       for n, c in work.server["control"].items()}}
'''
NOISE = '''
"""Noise on the sum of clipped updates, and how much of it there has been."""

from typing import Literal

import numpy as np

from flspec.postprocessors import Postprocessor


class Noise(Postprocessor):
    """Each update is halved; their mean gets normal noise of a thousandth of a cohort's share."""

    kind: Literal["noise"] = "noise"
    is_random = True

    def initial_record(self):
        return {"rounds": np.zeros((), np.float32)}

    def on_each(self, delta, record, stream):
        return {name: value / 2 for name, value in delta.items()}

    def on_combined(self, combined, stream):
        noise = {n: stream.child(n).normal(v.size).reshape(v.shape) for n, v in combined.delta.items()}
        noised = {n: v + 1e-3 / combined.num_updates * noise[n] for n, v in combined.delta.items()}
        return noised, {"rounds": combined.record["rounds"] + 1}
'''
OBJECTIVE = '''
"""Confident outputs cost."""

from typing import Literal

from flspec.objectives import Objective


class Calm(Objective):
    """The loss, and a tenth of the mean square of the outputs."""

    kind: Literal["calm"] = "calm"

    def torch(self, step):
        outputs = step.forward(step.inputs)
        size = outputs.square().mean()
        loss, num = step.loss(outputs), len(step.labels)
        return loss + 0.1 * size, {"loss": loss.item() * num, "size": size.item() * num}
'''
PARTS = {
    "variates": ("flspec.client_algorithms", "Variates", SCAFFOLD),
    "noise": ("flspec.postprocessors", "Noise", NOISE),
    "calm": ("flspec.objectives", "Calm", OBJECTIVE),
}
SPEC = """
flspec: 1
name: elsewhere
rounds: 4
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 90, test_examples: 20}
partition: {kind: dirichlet, clients: 6, alpha: 0.5, min_examples: 2}
model: {kind: softmax_regression}
client: {epochs: 2, batch_size: 5, optimizer: {kind: sgd, learning_rate: 0.2}CLIENT}
cohort: {kind: uniform, size: 3}
"""
ASKED = {
    "variates": (", algorithm: {kind: variates}", ""),
    "noise": ("", "postprocessors: [{kind: clip_update, norm: 0.5}, {kind: noise}]\n"),
    "calm": (", objective: {kind: calm}", ""),
    "fedprox": (", algorithm: {kind: fedprox, mu: 0.5}", ""),
}
FIELD = {"variates": "client.algorithm", "noise": "postprocessors", "calm": "client.objective"}


def install(part: str, folder: Path, source: str | None = None) -> None:
    """The package as pip would put it into `folder`: one module and its metadata."""
    group, name, text = PARTS[part]
    metadata = folder / f"{part}_part-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}_part.py").write_text(source or text)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {part}-part\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{part} = {part}_part:{name}\n")


def spec_of(part: str) -> str:
    client, section = ASKED[part]
    return SPEC.replace("CLIENT", client) + section


def flspec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "flspec", *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module", params=[*PARTS, "fedprox"])
def certified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The part, and a folder in which its plan was certified on Flower."""
    part, folder = request.param, tmp_path_factory.mktemp(request.param)
    if part in PARTS:
        install(part, folder)
    (folder / "spec.yaml").write_text(spec_of(part))
    backends = ["local", "flower:inprocess", *(["tff"] if part in PARTS else [])]  # which refuses what is not flspec's
    done = flspec(folder, "certify", "spec.yaml", "--backends", ",".join(backends), "--out", "c", "--json")
    assert done.returncode == (1 if part in PARTS else 0), done.stderr
    return part, folder


def test_flower_does_the_same_to_the_last_bit(certified: tuple[str, Path]) -> None:
    _, folder = certified
    told = json.loads((folder / "c" / "certificate.json").read_text())["backends"]
    assert told["flower:inprocess"]["verdict"] == "equivalent"
    assert told["flower:inprocess"]["bitwise"]


def test_tff_refuses_it_by_its_field(certified: tuple[str, Path]) -> None:
    part, folder = certified
    if part not in PARTS:
        return
    told = json.loads((folder / "c" / "certificate.json").read_text())["backends"]["tff"]
    assert told["verdict"] == "refused"
    why = "tff does not read this" if part == "calm" else f"{part} is of another package, and TFF's environment has"
    assert f": {FIELD[part]}: {why}" in told["reason"]


def test_scaffold_is_the_papers(certified: tuple[str, Path]) -> None:
    part, folder = certified
    if part != "variates":
        return
    plan, weights = (
        Plan.load(folder / "c" / "local" / "plan"),
        load_weights(folder / "c" / "local" / "weights.safetensors"),
    )
    assert np.allclose(flat(weights), flat(scaffold(plan)), atol=1e-5)
    assert not np.allclose(flat(weights), flat(scaffold(plan, corrects=False)), atol=1e-3)
    assert not np.allclose(flat(weights), flat(scaffold(plan, num_clients=3)), atol=1e-4)


def flat(tensors):
    return np.concatenate([np.asarray(value, np.float64).ravel() for value in tensors.values()])


def scaffold(plan: Plan, corrects: bool = True, num_clients: int | None = None) -> dict[str, np.ndarray]:
    """Algorithm 1 in a loop, float64: the server's weights after the last round."""
    train, rate = open_data(plan.settings.data).train, plan.settings.client_optimizer["learning_rate"]
    x = {name: value.astype(np.float64) for name, value in plan.weights.items()}
    inputs: Any = train.inputs
    c, of_clients = {n: np.zeros_like(v) for n, v in x.items()}, dict[Any, Any]()
    for number in range(1, plan.num_rounds + 1):
        tasks, moves, changes = plan.cohort(number), [], []
        for task in tasks:
            own, y = of_clients.get(task.client, {n: np.zeros_like(v) for n, v in x.items()}), dict(x)
            for batch in task.batches:
                _, _, gradient = loss_and_gradient(plan.settings.layers, y, inputs(batch), train.labels[batch])
                y = {n: y[n] - rate * (gradient[n] + corrects * (c[n] - own[n])) for n in y}
            after = {n: own[n] - c[n] + (x[n] - y[n]) / (len(task.batches) * rate) for n in x}
            moves.append({n: y[n] - x[n] for n in x})
            changes.append({n: after[n] - own[n] for n in x})
            of_clients[task.client] = after
        shares = np.array([task.weight for task in tasks]) / sum(task.weight for task in tasks)
        x = {n: x[n] + sum(s * move[n] for s, move in zip(shares, moves, strict=True)) for n in x}
        c = {n: c[n] + sum(change[n] for change in changes) / (num_clients or plan.num_clients) for n in x}
    return x


def test_what_a_postprocessor_remembers_is_in_the_state(certified: tuple[str, Path]) -> None:
    part, folder = certified
    if part == "noise":
        assert flspec(folder, "run", "spec.yaml", "--out", "r").returncode == 0
        kept = [load_state(kept_state(folder / "r", number)).records for number in (3, 4)]
        assert [float(records["postprocessors/1"]["rounds"]) for records in kept] == [3.0, 4.0]


def test_what_an_objective_measures_is_in_the_result(certified: tuple[str, Path]) -> None:
    part, folder = certified
    if part == "calm":
        result = json.loads((folder / "c" / "local" / "result.json").read_text())
        assert set(result["rounds"][0]["train"]) == {"loss", "size"}


@pytest.mark.parametrize("part", PARTS)
def test_another_source_is_another_experiment(part: str, tmp_path: Path) -> None:
    digests = []
    for change in ("", "\n# otherwise\n"):
        install(part, tmp_path, PARTS[part][2] + change)
        (tmp_path / "spec.yaml").write_text(spec_of(part))
        digests.append(json.loads(flspec(tmp_path, "plan", "spec.yaml", "--json").stdout)["plan_digest"])
    assert len(set(digests)) == 2


def test_a_run_with_an_algorithm_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    install("variates", tmp_path)
    (tmp_path / "spec.yaml").write_text(spec_of("variates"))
    assert flspec(tmp_path, "run", "spec.yaml", "--out", "whole").returncode == 0
    assert flspec(tmp_path, "run", "spec.yaml", "--out", "parts").returncode == 0
    kept_state(tmp_path / "parts", 4).unlink()
    events = (tmp_path / "parts" / "events.jsonl").read_text().splitlines(keepends=True)
    third = max(number for number, line in enumerate(events) if json.loads(line).get("round") == 3)
    (tmp_path / "parts" / "events.jsonl").write_text("".join(events[: third + 1]))
    (tmp_path / "parts" / "result.json").unlink()
    resumed = flspec(tmp_path, "run", "spec.yaml", "--out", "parts", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "parts" / "weights.safetensors").read_bytes() == (
        tmp_path / "whole" / "weights.safetensors"
    ).read_bytes()
