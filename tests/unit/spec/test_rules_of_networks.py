"""Objective, model and optimizers are of the same networks, or the spec is refused by field."""

from __future__ import annotations

import pytest

from flspec.errors import SpecError
from flspec.spec.loading import parse_spec

GAN = """
flspec: 1
name: gan
rounds: 1
dataset: {kind: digits}
partition: {kind: iid, clients: 3}
model: MODEL
client:
  steps: 1
  batch_size: 4
  objective: OBJECTIVE
  optimizer: {kind: sgd, learning_rate: 0.1}
MORE
evaluation: {metrics: [METRIC]}
"""
SGD = "{kind: sgd, learning_rate: 0.2}"
MODEL = "{kind: dcgan, batch_norm: averaged}"


def spec(more="", model=MODEL, objective="{kind: gan}", metric="kid"):
    text = GAN.replace("MODEL", model).replace("OBJECTIVE", objective).replace("METRIC", metric)
    return parse_spec(text.replace("MORE", more), "spec.yaml")


def test_a_gan_of_a_generator_and_a_discriminator_is_a_spec():
    assert spec().client.objective.players == {"generator": ("generator",), "discriminator": ("discriminator",)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "{kind: softmax_regression}"},
            "client.objective: trains networks generator and discriminator, but model softmax_regression has one "
            "network; choose another model, such as dcgan",
        ),
        (
            {"objective": "{kind: supervised}", "metric": "loss"},
            "model: dcgan has networks generator and discriminator, but objective supervised trains one network; "
            "choose another client.objective, such as gan",
        ),
        ({"more": "  loss: huber"}, "client.loss: is of outputs and labels, which objective gan does not read"),
        ({"more": "  label_weights: [1.0]"}, "client.label_weights: is of outputs and labels"),
        (
            {"more": "  optimizers: {discriminater: {kind: sgd, learning_rate: 0.2}}"},
            "client.optimizers.discriminater: unknown 'discriminater'; did you mean 'discriminator'",
        ),
        (
            {"more": f"  optimizers: {{discriminator: {SGD}, generator: {SGD}}}"},
            "client.optimizer: is that of no network: client.optimizers names discriminator and generator",
        ),
        (
            {"more": "  optimizers: {generator: {kind: sgd, learning_rate: 0.2, schedule: {kind: step, every: 2}}}"},
            "client.optimizers.generator.schedule: is one for all optimizers",
        ),
        ({"model": "{kind: dcgan, batch_norm: averaged, local: [judge]}"}, "model.local: unknown 'judge'"),
        (
            {"model": "{kind: dcgan, batch_norm: averaged, local: [discriminator, generator]}"},
            "model.local: leaves nothing to send; use mode: local_only",
        ),
        ({"model": "{kind: dcgan, batch_norm: averaged, local: [judge.conv]}"}, "model.local: unknown 'judge'"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused_by_field(changes, message):
    with pytest.raises(SpecError) as caught:
        spec(**changes)
    assert message in str(caught.value)


def test_optimizers_of_one_network_are_refused():
    with pytest.raises(SpecError, match="are of several networks, but objective supervised trains one"):
        spec("  optimizers: {a: {kind: sgd, learning_rate: 0.2}}", "{kind: mlp}", "{kind: supervised}", "loss")


def test_a_schedule_that_measures_scores_is_refused():
    measured = "learning_rate: 0.1, schedule: {kind: plateau}"
    text = GAN.replace("steps: 1", "epochs: 1").replace("clients: 3", "clients: 3, holdout: 0.2")
    text = text.replace("learning_rate: 0.1", measured).replace("MODEL", MODEL).replace("MORE", "")
    with pytest.raises(SpecError, match="follows a metric of scores, which objective gan gives none of"):
        parse_spec(text.replace("OBJECTIVE", "{kind: gan}").replace("METRIC", "kid"), "spec.yaml")
