"""An objective of one file from a package that changes nothing of flspec: it writes phases, which engines know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flspec.protocol.backend import kept_state
from flspec.protocol.plan import Plan
from flspec.protocol.state import load_state
from tests.conformance.harness import require
from tests.unit.scratch_packages import flspec, run_python, write_package

PATIENT = '''
"""The generator is trained in every other step, against a hinge."""

from typing import ClassVar, Literal

from flspec.objectives import Objective
from flspec.phases import Call, Draw, Phase, Sample, Term


class Patient(Objective):
    """A discriminator with a hinge loss, and a generator that waits."""

    kind: Literal["patient"] = "patient"
    network_names: ClassVar[tuple[str, ...]] = ("generator", "discriminator")
    wait: int = 2

    def phases(self, networks):
        def judge(value, of, detached=False):
            return Call(value=value, network="discriminator", inputs={"image": of}, detached=detached)

        return (
            Phase(
                name="critic",
                draws=self._draws(networks),
                calls=(judge("on_real", "real"), self._picture, judge("on_fake", "fake", detached=True)),
                terms=(Term(kind="hinge", of="on_real", real=True), Term(kind="hinge", of="on_fake", real=False)),
                optimizer="discriminator",
            ),
            Phase(
                name="maker",
                every=self.wait,
                calls=(judge("judged", "fake"),),
                terms=(Term(kind="wasserstein", of="judged", real=True),),
                optimizer="generator",
            ),
        )

    def sample(self, networks):
        return Sample(draws=self._draws(networks), calls=(self._picture,), picture="fake")

    def _draws(self, networks):
        return {"latent": Draw(shape=networks["generator"].inputs["latent"])}

    @property
    def _picture(self):
        return Call(value="fake", network="generator", inputs={"latent": "latent"})
'''
SPEC = """
flspec: 1
name: patient
rounds: 2
dataset: {kind: celeba, twin: {clients: 8, examples: 60}, split: published, size: 8, fit: crop, normalise: half}
partition: {kind: iid, clients: 2}
model: {kind: dcgan, latent: 3, width: 2, batch_norm: averaged}
client:
  steps: 3
  batch_size: 4
  objective: {kind: patient}
  optimizer: {kind: sgd, learning_rate: 0.05}
evaluation: {metrics: [kid], generated: 20}
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    write_package(folder, "patient_part", PATIENT, "flspec.objectives", "Patient")
    (folder / "spec.yaml").write_text(SPEC)
    return folder


def test_it_is_in_sight_and_its_phases_are_in_the_plan(packages):
    listed = flspec(packages, "list", "objective")
    assert "patient" in listed.stdout + flspec(packages, "list", "client.objective").stdout
    done = run_python(
        packages, "-c", "import flspec; flspec.compile('spec.yaml').save(__import__('pathlib').Path('p'))"
    )
    assert done.returncode == 0, done.stderr
    plan = Plan.load(packages / "p")  # here, where nobody has the package
    assert [(phase["name"], phase.get("every", 1)) for phase in plan.settings.phases] == [("critic", 1), ("maker", 2)]
    assert not plan.settings.objective
    assert not plan.settings.code  # it decided, and acts in no run


@pytest.mark.parametrize(("backend", "is_bitwise"), [("flower:inprocess", True), ("tff", False)])
def test_every_engine_that_knows_phases_trains_it(packages, backend, is_bitwise):
    """TFF's environment has no such package, and needs none."""
    require(backend)
    out = backend.replace(":", "-")
    done = flspec(packages, "certify", "spec.yaml", "--backends", f"local,{backend}", "--out", out, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)["backends"][backend]
    assert verdict["verdict"] == "equivalent"
    assert verdict["bitwise"] is is_bitwise


def test_a_phase_that_waits_changes_nothing_before(packages):
    """After one step of each client, the generator has stepped once; after two it still has."""
    generators = []
    for steps in (1, 2, 3):
        out = f"steps{steps}"
        values = ["--set", f"client.steps={steps}", "--set", "rounds=1", "--out", out]
        done = flspec(packages, "run", "spec.yaml", *values)
        assert done.returncode == 0, done.stdout + done.stderr
        state = load_state(kept_state(packages / out, 1))
        learned = [name for name in state.weights if name.startswith("generator.") and "running" not in name]
        generators.append(np.concatenate([state.weights[name].ravel() for name in learned]))
    once, twice, thrice = generators
    assert np.array_equal(once, twice)
    assert not np.array_equal(twice, thrice)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"image": of', '"imige": of', "gives discriminator imige, but it takes image"),
        ('"fake", detached=True', '"fakes", detached=True', "value unknown 'fakes'; did you mean 'fake'"),
        (
            'of="judged"',
            'of="on_fake"',
            "on_fake is derived from discriminator, which changed since",
        ),
        ('optimizer="generator"', 'optimizer="maker"', "phase maker: optimizer unknown 'maker'"),
        ("return Sample(", "return None and Sample(", "it has no `sample`, so nothing of the model could be evaluated"),
    ],
)
def test_phases_that_cannot_be_carried_out_are_reported_by_field_phase_and_value(tmp_path, before, after, message):
    assert before in PATIENT
    write_package(tmp_path, "patient_part", PATIENT.replace(before, after), "flspec.objectives", "Patient")
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = flspec(tmp_path, "plan", "spec.yaml")
    assert done.returncode == 2
    assert "client.objective: patient with model dcgan cannot be carried out: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
