"""What is written and not read is told: settings that a mode leaves unread, and the backend beside other mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flspec.spec.study import load_study
from flspec.spec.unread import unread_settings
from tests.command_line import flspec

SPEC = """flspec: 1
name: alone
mode: local_only
rounds: 2
dataset: {kind: synthetic, classes: 3, features: 4, train_examples: 60, test_examples: 20}
partition: {kind: iid, clients: 4}
model: {kind: softmax_regression}
client: {epochs: 1, batch_size: 32, optimizer: {kind: sgd, learning_rate: 0.1}}
cohort: {kind: uniform, size: 2}
aggregator: {kind: fedavg}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path / "spec.yaml"


@pytest.mark.parametrize("mode", ["local_only", "centralized"])
def test_what_a_mode_does_not_read_is_told_with_its_place(spec: Path, mode: str) -> None:
    spec.write_text(SPEC.replace("local_only", mode))
    assert unread_settings(load_study(spec).cells) == [
        f"{spec}:{line}:1: {name}: mode {mode} does not read it; remove it, or set mode: federated"
        for line, name in [(9, "cohort"), (10, "aggregator")]
    ]


def test_what_is_read_is_not_told(spec: Path) -> None:
    assert unread_settings(load_study(spec, ["mode=federated"]).cells) == []
    spec.write_text(SPEC.partition("cohort")[0])
    assert unread_settings(load_study(spec).cells) == []


def test_what_another_cell_reads_is_not_told(spec: Path) -> None:
    spec.write_text(f"{SPEC.replace('mode: local_only', '')}matrix: {{axes: {{mode: [federated, local_only]}}}}\n")
    assert unread_settings(load_study(spec).cells) == []
    assert len(unread_settings([load_study(spec).cell("mode=local_only")])) == 2
    spec.write_text(spec.read_text().replace("federated, local_only", "centralized, local_only"))
    assert "mode centralized and local_only does not read it" in unread_settings(load_study(spec).cells)[0]


def test_plan_and_run_say_it(spec: Path) -> None:
    planned, ran = (flspec(spec.parent, command, "spec.yaml") for command in ("plan", "run"))
    assert [line for line in planned.stdout.splitlines() if "remark" in line] == ran.stderr.splitlines()[:2]
    assert ran.stderr.startswith("remark: spec.yaml:9:1: cohort: mode local_only does not read it")
    assert len(json.loads(flspec(spec.parent, "plan", "spec.yaml", "--json").stdout)["remarks"]) == 2


GENERATIVE = """flspec: 1
name: pair
rounds: 2
dataset: {kind: celeba, twin: {clients: 4, examples: 40}, size: 16, normalise: half}
partition: {kind: iid, clients: 4}
model: {kind: dcgan, latent: 4, width: 2, batch_norm: averaged}
client: {steps: 1, batch_size: 4, loss: cross_entropy, objective: OBJECTIVE, optimizer: {kind: adam, learning_rate: 1}}
aggregator: {kind: fedavg}
"""


def test_a_loss_that_the_objective_does_not_read_is_told(spec: Path) -> None:
    """It is the default, so that nobody could tell from its value that it was written."""
    spec.write_text(GENERATIVE.replace("OBJECTIVE", "{kind: gan}"))
    told = "client.loss: the objective has terms of its own and does not read it; remove it"
    assert unread_settings(load_study(spec).cells) == [f"{spec}:7:35: {told}"]
    spec.write_text(GENERATIVE.replace("OBJECTIVE", "{kind: gan}").replace("loss: cross_entropy, ", ""))
    assert unread_settings(load_study(spec).cells) == []


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_backend_that_is_not_there_is_told_beside_every_other_mistake(spec: Path, command: str) -> None:
    spec.write_text(SPEC.replace("mode: local_only", "backend: tensorflow").replace("rounds: 2\n", ""))
    done = flspec(spec.parent, command, "spec.yaml")
    assert done.returncode == 2
    assert {line.split(": ")[1] for line in done.stderr.splitlines()} == {"rounds", "backend"}
    assert "unknown 'tensorflow'; choose one of" in done.stderr


def test_a_spec_for_another_machine_can_still_be_planned(spec: Path) -> None:
    spec.write_text(SPEC.replace("mode: local_only", "backend: elsewhere"))
    assert load_study(spec).backend == "elsewhere"
